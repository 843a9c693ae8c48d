"""Measurements of methods, codecs and autoencoders: records, tables, plots."""
