"""Trained networks on disk: NAME.safetensors has the weights, NAME.json how to build them and where they are from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from fastgs.files import atomic_write
from fastgs.initializers.learned import LearnedInitializer
from fastgs.models import AttributeNetwork, PositionNetwork

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


def save_weights(path: str | Path, networks: LearnedInitializer, training: dict[str, Any]) -> None:
    """Write path.safetensors + path.json."""
    path = Path(path).with_suffix(".safetensors")
    attribute = networks.attribute
    info = {
        "position": networks.position.arguments,
        "attribute": None if attribute is None else attribute.arguments,
        "training": training,
    }
    with atomic_write(path) as temporary:
        safetensors.torch.save_model(networks, str(temporary))
    with atomic_write(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(info, indent=2) + "\n")


def load_weights(name_or_path: str | Path) -> LearnedInitializer:
    """Read what `save_weights` wrote."""
    path = Path(name_or_path).with_suffix(".safetensors")
    if not path.exists():
        path = CHECKPOINTS / f"{name_or_path}.safetensors"
    info = json.loads(path.with_suffix(".json").read_text())
    networks = LearnedInitializer(
        PositionNetwork(**info["position"]), AttributeNetwork(**info["attribute"]) if info["attribute"] else None
    )
    safetensors.torch.load_model(networks, str(path))
    return networks
