"""Small cases for emitted engines: jobs of every kind, with the golden model's results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.pattern import DENSE

if TYPE_CHECKING:
    from nofm.rtl.bench.cases import Case

SEED = 1


def cases(engine: str, accelerator: Accelerator) -> list[Case]:
    """A few cases for an engine of an accelerator, the same each time; none for a chip.

    Args:
        engine: a name in `ENGINES`.
    """
    return SAMPLES[engine](accelerator) if engine in SAMPLES else []


def _stce(accelerator: Accelerator) -> list[Case]:
    from nofm.rtl.stce.cases import case
    from nofm.rtl.stce.geometry import Geometry
    from nofm.verification import Gemm, matmul_job, scheduled

    array = accelerator.array
    geometry = Geometry.of(accelerator)
    gemms = [
        Gemm(
            m=array.rows + 3,
            length=array.rows * pattern.m + 1,
            n=array.columns + 1,
            pattern=pattern,
            dataflow=dataflow,
            seed=SEED,
            special=0.02,
        )
        for pattern in (DENSE, *array.patterns[:1], *array.patterns[1:][-1:])
        for dataflow in array.dataflows
    ]
    return [
        case(str(gemm), geometry, [matmul_job(scheduled(gemm, accelerator), accelerator)])
        for gemm in gemms
    ]


def _sore(accelerator: Accelerator) -> list[Case]:
    from nofm.rtl.sore.cases import Pruning, case
    from nofm.rtl.sore.geometry import Geometry

    geometry = Geometry.of(accelerator)
    rng = np.random.default_rng(SEED)
    found = []
    for pattern in accelerator.array.patterns:
        dense = rng.standard_normal((2, 2 * pattern.m + 1, geometry.lanes + 1)).astype(np.float16)
        found.append(case(str(pattern), geometry, [Pruning(dense, pattern)], limit=10 * dense.size))
    return found


def _wuve(accelerator: Accelerator) -> list[Case]:
    from nofm.kernels.optimizer import Sgd
    from nofm.rtl.wuve.cases import Update, case
    from nofm.rtl.wuve.geometry import Geometry

    geometry = Geometry.of(accelerator)
    rng = np.random.default_rng(SEED)
    elements = 16 * geometry.lanes + 1
    weights, momenta = rng.standard_normal((2, elements)).astype(np.float32)
    gradients = rng.standard_normal(elements).astype(np.float16)
    by = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    update = Update(weights, momenta, gradients, by)
    return [case(f"{elements} parameters", geometry, [update], limit=10_000)]


def _pregeneration(accelerator: Accelerator) -> list[Case]:
    from nofm.kernels.optimizer import Sgd
    from nofm.rtl.pregeneration.cases import Generation, case
    from nofm.rtl.pregeneration.geometry import Geometry

    geometry = Geometry.of(accelerator)
    rng = np.random.default_rng(SEED)
    by = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    found = []
    for pattern in accelerator.array.patterns[:2]:
        shape = (2, pattern.m + 1, geometry.sore.lanes + 1)
        weights, momenta = rng.standard_normal((2, *shape)).astype(np.float32)
        gradients = rng.standard_normal(shape).astype(np.float16)
        generation = Generation(weights, momenta, gradients, by, pattern, both=True)
        found.append(case(str(pattern), geometry, [generation], limit=100 * weights.size))
    return found


SAMPLES: dict[str, Any] = {
    "stce": _stce,
    "sore": _sore,
    "wuve": _wuve,
    "pregeneration": _pregeneration,
}
"""How to make the cases of each engine that can be emitted."""
