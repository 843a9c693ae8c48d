"""Enlarging of images: reduced ones are enlarged again in several ways, and compared with what they were."""
