"""How fast: kernels, decoding, training, memory."""
