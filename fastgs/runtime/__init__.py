"""Support for kernels and long tasks: compilation, vectors, threads, processes, and registries of names."""
