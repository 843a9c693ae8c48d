"""The GPU, in one go: right, how fast, and how far from what the card could do."""
