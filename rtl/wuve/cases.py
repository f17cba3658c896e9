"""Cases for the bench: jobs with their data, and what the golden model says must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.kernels.optimizer import Halves, Sgd, Singles, update
from nofm.rtl.bench.cases import Case
from nofm.rtl.wuve.geometry import Geometry
from nofm.rtl.wuve.job import WuveJob
from nofm.rtl.wuve.stream import input_beats, output_beats, used_bits


@dataclass(frozen=True, eq=False)
class Update:
    """A job with its data: float32 [elements] weights and momenta, float16 [elements] gradients."""

    weights: Singles
    momenta: Singles
    gradients: Halves
    by: Sgd


def case(name: str, geometry: Geometry, updates: Sequence[Update], **options: Any) -> Case:
    """The jobs of `updates`, one after the other.

    Args:
        name: of the case.
        geometry: of the engine.
        updates: jobs with their data.
        options: further attributes of the case.
    """
    job_words, given, wanted, cares = [], [], [], []
    for item in updates:
        elements = len(item.weights)
        after = update(item.weights, item.momenta, item.gradients, item.by)
        job_words.append(WuveJob(elements=elements, by=item.by).encode(geometry))
        given += input_beats(item.weights, item.momenta, item.gradients, geometry.lanes)
        wanted += output_beats(after, geometry.lanes)
        cares += used_bits(np.ones(elements, np.bool_), geometry.lanes)
    return Case(
        name=name,
        inputs={"job": [job_words], "in": [given]},
        outputs={"out": [wanted]},
        cares={"out": [cares]},
        jobs=len(updates),
        **options,
    )
