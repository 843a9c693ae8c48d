"""Benchmarks of speed and memory: kernels, decoding, datasets of splats, training."""
