"""Files in and out: images of every kind, writes that are whole or absent, JSON, and weights on disk."""
