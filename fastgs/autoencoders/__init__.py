"""Autoencoders on sets of Gaussians, whole: networks, principal components, trained ones."""
