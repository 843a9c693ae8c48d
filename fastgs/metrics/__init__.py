"""Measures of quality and rate, each defined once."""
