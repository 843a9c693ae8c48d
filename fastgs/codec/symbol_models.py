"""Learned models of symbols by their numbers in files."""

from __future__ import annotations

# Weights in checkpoints/ by the number of the model. Files need them for ever: another model has another number.
MODELS_OF_SYMBOLS = {1: "symbols"}
LATEST = max(MODELS_OF_SYMBOLS)
