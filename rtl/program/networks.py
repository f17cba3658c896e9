"""Small networks whose training step fits a simulation of the whole chip."""

from __future__ import annotations

from typing import Any

from nofm.kernels.errors import unknown
from nofm.rtl.program.step import Operation, Pool, Weighted
from nofm.workloads.layer import Convolution, Linear

BATCH, CLASSES = 6, 4
"""Samples of a step, and what they are told apart into."""


def _convolution(name: str, ci: int, co: int, size: int, stride: int = 1, **given: Any) -> Any:
    return Convolution(
        name=name,
        batch=BATCH,
        in_channels=ci,
        out_channels=co,
        size=(size, size),
        kernel=(3, 3),
        stride=(stride, stride),
        padding=((1, 1), (1, 1)),
        dilation=(1, 1),
        **given,
    )


def _linear(name: str, ci: int, co: int, **given: Any) -> Linear:
    return Linear(name=name, batch=BATCH, in_features=ci, out_features=co, **given)


NETWORKS: dict[str, tuple[Operation, ...]] = {
    "tiny": (
        Weighted(layer=_linear("first", 8, 4), relu=True),
        Weighted(layer=_linear("second", 4, CLASSES)),
    ),
    "mlp": (
        Weighted(layer=_linear("first", 24, 32), relu=True),
        Weighted(layer=_linear("second", 32, CLASSES)),
    ),
    "cnn": (
        Weighted(layer=_convolution("one", 2, 8, 7, prunable=False), relu=True),
        Pool(kind="largest", size=2),
        Weighted(layer=_convolution("two", 8, 16, 3), relu=True),
        Pool(kind="average", size=3),
        Weighted(layer=_linear("head", 16, CLASSES, prunable=False)),
    ),
    "strided": (
        Weighted(layer=_convolution("one", 3, 8, 6, stride=2, prunable=False), relu=True),
        Weighted(layer=_convolution("two", 8, 12, 3, stride=2), relu=True),
        Weighted(layer=_linear("head", 48, CLASSES)),
    ),
}
"""By name: two perceptrons of two layers; two convolutions with both kinds of pooling and a linear
layer; convolutions with strides."""


def network(name: str) -> tuple[Operation, ...]:
    """A network by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
