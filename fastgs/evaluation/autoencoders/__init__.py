"""Autoencoders on datasets of Gaussians: records with a linear probe of the codes, tables, figures and pictures."""
