"""Autoencoders of sets of Gaussians: networks, principal components, trained autoencoders and their files."""
