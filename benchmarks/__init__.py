"""Benchmarks: programs that are run as modules from the root of the repository, and their results."""
