"""Seeing the operands of the products while a model trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from nofm.workloads.sparse.site import decode

Watcher = Callable[[str, str, Tensor, Tensor], None]
"""Called with the layer's name, the stage, and the two operands of its product: the input and the
weight in FF, the output gradient and the weight in BP, the output gradient and the input in WU."""

_WATCHERS: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` with the operands of every product of every sparse layer that runs meanwhile.

    The tensors are those that enter the products, in the layer's own shapes: not to be changed.
    """
    _WATCHERS.append(watcher)
    try:
        yield
    finally:
        _WATCHERS.remove(watcher)


def seen(text: str, stage: str, left: Tensor, right: Tensor) -> None:
    """Tell all watchers of a product's operands.

    Args:
        text: the layer's `Site`, encoded.
    """
    for watcher in _WATCHERS:
        watcher(decode(text).name, stage, left, right)
