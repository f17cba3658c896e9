"""Dense and N:M times of a product on any processor, by the model of its kind."""

from __future__ import annotations

from nofm.simulator.processors import cpu, gpu
from nofm.simulator.processors.description import Cpu, Gpu
from nofm.simulator.processors.prediction import Product, Time, total


def dense_time(processor: Cpu | Gpu, product: Product) -> Time:
    """Time of the dense product."""
    if isinstance(processor, Cpu):
        terms = cpu.dense_terms(processor, product)
    else:
        terms = gpu.dense_terms(processor, product)
    return total(terms, processor.calibration.dense)


def sparse_time(processor: Cpu | Gpu, product: Product) -> Time:
    """Time of the N:M product."""
    if isinstance(processor, Cpu):
        terms = cpu.sparse_terms(processor, product)
    else:
        terms = gpu.sparse_terms(processor, product)
    return total(terms, processor.calibration.sparse)
