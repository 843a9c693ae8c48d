"""Callbacks of the trainer: exported weights, panels of images, throughput, Weights & Biases."""
