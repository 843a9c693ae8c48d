"""Input and output: image files of every kind, atomic writes, JSON, weights on disk, and the version."""
