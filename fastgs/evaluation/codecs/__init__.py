"""Codecs at given rates: records, tables with BD-rates, and figures."""
