"""Small networks to train: one table, `MODELS`. Each fits the data that it is made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nofm.kernels.errors import InputError, unknown
from nofm.workloads.training.datasets import Data


@dataclass(frozen=True)
class Model:
    """One network.

    Attributes:
        name: as on the command line.
        title: for people.
        make: builds it for some data, which `fits` it.
        ids: whether its inputs are ids of characters; else they are [channels, *positions].
    """

    name: str
    title: str
    make: Callable[[Data], nn.Module]
    ids: bool = False


def _mlp(data: Data) -> nn.Module:
    width, inputs = 128, data.x[0].numel()
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, data.classes),
    )


def _cnn(data: Data) -> nn.Module:
    channels, *positions = data.x[0].shape
    convolution: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if len(positions) == 1 else nn.Conv2d
    widths = (channels, 32, 64, 64)
    layers: list[nn.Module] = []
    for ci, co in pairwise(widths):
        layers += [convolution(ci, co, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(3):
        positions = [-(-size // 2) for size in positions]
    flat = widths[-1]
    for size in positions:
        flat *= size
    layers += [nn.Flatten(), nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, data.classes)]
    return nn.Sequential(*layers)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class _Gpt(nn.Module):
    def __init__(self, data: Data, width: int = 64, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.classes, width)
        self.places = nn.Parameter(torch.zeros(data.x.shape[1], width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, data.classes)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places
        return self.head(self.norm(self.blocks(x)))


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("cnn", "three strided convolutions and two linear layers", _cnn),
        Model("mlp", "four linear layers, 128 wide", _mlp),
        Model("gpt", "a decoder of two blocks, 64 wide", _Gpt, ids=True),
    )
}
"""Every network by name."""


def build(name: str, data: Data, dataset: str) -> nn.Module:
    """A network for some data, with torch's initial weights.

    Raises:
        InputError: no such network, or it takes other inputs than the data has.
    """
    if name not in MODELS:
        raise unknown("network", name, MODELS)
    ids = not data.x.is_floating_point()
    if MODELS[name].ids != ids:
        fitting = ", ".join(each.name for each in MODELS.values() if each.ids == ids)
        raise InputError(f"network {name!r} does not fit dataset {dataset!r}: {fitting} does")
    return MODELS[name].make(data)
