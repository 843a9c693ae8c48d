"""Network that tells the distributions of symbols in files, to be trained; symbol_model.py applies it in integers.

Activations are in the units of those integers, but for rounding, so trained weights need no adjustment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastgs.codec.surroundings_kernels import COMMON, FEATURES, LARGEST, SHAPED, UNIT
from fastgs.codec.symbol_model import GROUPS, LAYER, make_tables
from fastgs.codec.symbol_model_kernels import ACTIVE, COMPONENTS, MEANS, MEANS_BEGIN, OUTPUTS, WEIGHT

MOST = (LARGEST + 0.5) / WEIGHT  # largest weight by magnitude
_LOGITS = 8.0  # bound of the logarithms of shares
_SCALES = (-8.0, 8.0)  # bounds of the logarithms of scales
# Of each probability, this part is shared evenly, about as in the tables of a file.
_FLOOR = 2.0**-10 / 100


class SymbolHead(nn.Module):
    """Maps what is known of a Gaussian to the mixture that one of its symbols follows.

    Args:
        inputs: Number of inputs.
        width: Number of hidden activations.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.last = nn.Linear(width + MEANS, OUTPUTS)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias[COMPONENTS : 2 * COMPONENTS] -= 1

    def forward(self, inputs: Tensor, means: Tensor) -> Tensor:
        """Map (n, inputs) inputs and the (n, `MEANS`) means of the neighbours to (n, `OUTPUTS`) outputs."""
        hidden = self.first(inputs).clamp(0, ACTIVE / UNIT)
        outputs: Tensor = self.last(torch.cat([hidden, means], dim=1))
        return outputs


class SymbolGroup(nn.Module):
    """Network of the columns that share the activations of neighbours.

    Args:
        columns: Indices of the columns.
        neighbours: Number of activations of a neighbour.
        width: Number of hidden activations of each head.
    """

    def __init__(self, columns: range, neighbours: int, width: int) -> None:
        super().__init__()
        self.columns = columns
        self.neighbours = nn.Linear(FEATURES + SHAPED, neighbours)
        inputs = 2 * neighbours + COMMON + LAYER
        self.heads = nn.ModuleList(SymbolHead(inputs + column, width) for column in columns)

    def forward(self, each: Tensor, common: Tensor, of_layer: Tensor, own: Tensor) -> list[Tensor]:
        """Map features, see `SymbolNetwork.forward`, to the (n, `OUTPUTS`) outputs of each column."""
        active = self.neighbours(each).clamp(0, ACTIVE / UNIT)
        pooled = torch.cat([active[:, :2].mean(1), active.mean(1)], dim=1)
        means = common[:, MEANS_BEGIN : MEANS_BEGIN + MEANS]
        return [
            head(torch.cat([pooled, common, own[:, :column], of_layer], dim=1), means)
            for column, head in zip(self.columns, self.heads, strict=True)
        ]


class SymbolNetwork(nn.Module):
    """Maps what is known around Gaussians to the distributions of their symbols.

    Args:
        neighbours: Number of activations of a neighbour, for each of the two groups of columns.
        width: Number of hidden activations of the head of each column.

    Raises:
        ValueError: An argument is out of range; the message begins with the argument.
    """

    def __init__(self, neighbours: int = 32, width: int = 48) -> None:
        super().__init__()
        for name, value in (("neighbours", neighbours), ("width", width)):
            if value < 1:
                raise ValueError(f"{name}: must be at least 1, got {value}")
        self.arguments = {"neighbours": neighbours, "width": width}
        for name, columns in GROUPS.items():
            self.add_module(name, SymbolGroup(columns, neighbours, width))

    def forward(self, each: dict[str, Tensor], common: dict[str, Tensor], of_layer: Tensor, own: Tensor) -> Tensor:
        """Map features in units of 1 to (6, n, `OUTPUTS`) outputs.

        Args:
            each: (n, 8, F) features of the neighbours, for each group.
            common: (n, G) features of all neighbours together, for each group.
            of_layer: (n, `LAYER`) features of the layer.
            own: (n, 6) values of the Gaussian itself.
        """
        outputs: list[Tensor] = []
        for name in GROUPS:
            outputs += self.get_submodule(name)(each[name], common[name], of_layer, own)
        return torch.stack(outputs)

    def limit(self) -> None:
        """Bring weights into the range that their integers have."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    parameter.clamp_(-MOST, MOST)

    def export(self) -> dict[str, NDArray[Any]]:
        """Return the weights in integers, and the tables of functions, as `SymbolModel` reads them.

        Raises:
            ValueError: The weights hold NaN or infinity.
        """
        if not all(torch.isfinite(parameter).all() for parameter in self.parameters()):
            raise ValueError("the weights hold NaN or infinity")
        arrays: dict[str, NDArray[Any]] = {}
        for name, parameter in self.named_parameters():
            values = parameter.detach().cpu().double().numpy() * _unit_of(name)
            kind = np.int16 if name.endswith("weight") else np.int32
            arrays[name] = np.ascontiguousarray(np.rint(values).astype(kind))
        return arrays | make_tables()

    def load_exported(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the weights that `export` returned.

        Raises:
            ValueError: They are of a network of another size.
        """
        shapes = {name: tuple(parameter.shape) for name, parameter in self.named_parameters()}
        if shapes != {name: arrays[name].shape for name in shapes if name in arrays}:
            raise ValueError("the weights are those of a network of another size")
        self.load_state_dict({name: torch.from_numpy(arrays[name] / _unit_of(name)) for name in shapes})


def _unit_of(name: str) -> int:
    """Return the units in 1 of the integers of a parameter."""
    return WEIGHT if name.endswith("weight") else WEIGHT * UNIT


def count_bits(outputs: Tensor, values: Tensor, units: Tensor, scale: float) -> Tensor:
    """Return the (n,) bits of symbols by the mixtures of logistic distributions that outputs stand for.

    Args:
        outputs: (n, `OUTPUTS`) outputs of a head.
        values: (n,) values of the symbols, less the middle value of the layer.
        units: (n,) value of a symbol each.
        scale: Factor of values in features.
    """
    first = outputs[:, :1]
    places = torch.cat([first, first + outputs[:, 1:COMPONENTS]], dim=1)
    inverses = torch.exp(-outputs[:, COMPONENTS : 2 * COMPONENTS].clamp(*_SCALES))
    shares = outputs[:, 2 * COMPONENTS :].clamp(-_LOGITS, _LOGITS).softmax(1)
    # A difference of two logistic functions; on the side of the smaller ones, which are more precise.
    distances = (values[:, None] * scale - places).abs()
    half = 0.5 * units[:, None] * scale
    inside = torch.sigmoid((half - distances) * inverses) - torch.sigmoid((-half - distances) * inverses)
    return -torch.log2((shares * inside).sum(1) * (1 - 2.0**-10) + _FLOOR)
