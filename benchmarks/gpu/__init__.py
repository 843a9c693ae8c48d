"""Benchmark of everything that runs on a GPU: correctness, speed, and the distance to the limits of the card."""
