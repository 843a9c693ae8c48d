"""Entry of a file that asks for restoration: the network, and how much of its answer is added."""

from __future__ import annotations

from dataclasses import dataclass

from fastgs.definition import CHANNELS

# Weights in checkpoints/ by the number of the network in a file. Files need them for ever: another network has another
# number.
MODELS = {1: "restoration", 2: "restoration2"}
LATEST = max(MODELS)

GAIN_UNIT = 1 / 64
MOST_GAIN = 255
RESTORATION_BYTES = 1 + CHANNELS


@dataclass(frozen=True)
class Restoration:
    """Entry of a file that asks for restoration.

    Attributes:
        model: Number of the network, in `MODELS`.
        gains: Factors of the correction of R, G and B, in units of `GAIN_UNIT`, from 0 to `MOST_GAIN`.

    Raises:
        ValueError: A value is out of range; one line.
    """

    model: int
    gains: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model: expected one of {', '.join(map(str, MODELS))}, got {self.model}")
        if len(self.gains) != CHANNELS or not all(0 <= gain <= MOST_GAIN for gain in self.gains):
            raise ValueError(f"gains: expected {CHANNELS} numbers from 0 to {MOST_GAIN}, got {self.gains}")
