"""Dense and N:M times of a product on any processor, by the model of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nofm.simulator.processors import cpu, gpu
from nofm.simulator.processors.description import Cpu, Gpu
from nofm.simulator.processors.prediction import Product, Time

Terms = Callable[[Product], Mapping[str, float]]


def dense_time(processor: Cpu | Gpu, product: Product) -> Time:
    """Time of the dense product."""
    if isinstance(processor, Cpu):
        return cpu.dense_time(processor, product)
    return gpu.dense_time(processor, product)


def sparse_time(processor: Cpu | Gpu, product: Product) -> Time:
    """Time of the N:M product."""
    if isinstance(processor, Cpu):
        return cpu.sparse_time(processor, product)
    return gpu.sparse_time(processor, product)
