"""Image files as numbers: what Pillow reads wrong or not at all, and the colours that all formats agree on."""
