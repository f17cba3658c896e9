"""Cases for the bench: jobs with their data, and what the golden model says must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.kernels.compressed import compress
from nofm.kernels.optimizer import Halves, Sgd, Singles, update
from nofm.kernels.pattern import Pattern
from nofm.rtl.bench.cases import Case
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import PregenerationJob
from nofm.rtl.pregeneration.stream import input_beats, order, updated_beats
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.stream import output_beats


@dataclass(frozen=True, eq=False)
class Generation:
    """A job with its data.

    Attributes:
        weights, momenta: float32 [taps, length, columns].
        gradients: float16 of the same shape.
        by: the hyper-parameters.
        pattern: N:M of the new weights' forms.
        both: whether groups along the columns are made as well as those along the rows.
    """

    weights: Singles
    momenta: Singles
    gradients: Halves
    by: Sgd
    pattern: Pattern
    both: bool = False

    @property
    def job(self) -> PregenerationJob:
        """The job."""
        taps, length, columns = self.weights.shape
        pruning = SoreJob(
            pattern=self.pattern, taps=taps, length=length, columns=columns, both=self.both
        )
        return PregenerationJob(pruning=pruning, by=self.by)


def case(name: str, geometry: Geometry, generations: Sequence[Generation], **options: Any) -> Case:
    """The jobs of `generations`, one after the other.

    Args:
        name: of the case.
        geometry: of the engine.
        generations: jobs with their data.
        options: further attributes of the case.
    """
    lanes = geometry.wuve.lanes
    job_words, given = [], []
    wanted: dict[str, list[int]] = {"updated": [], "out": []}
    cares: dict[str, list[int]] = {"updated": [], "out": []}
    for item in generations:
        job = item.job
        after = update(item.weights, item.momenta, item.gradients, item.by)
        forms = [compress(after.halves, item.pattern)]
        if item.both:
            forms.append(compress(np.swapaxes(after.halves, 1, 2), item.pattern))
        placed = order(job.pruning, geometry)
        job_words.append(job.encode(geometry))
        given += input_beats(item.weights, item.momenta, item.gradients, placed, lanes)
        for stream, (words, bits) in {
            "updated": updated_beats(after, placed, lanes),
            "out": output_beats(forms, job.pruning, geometry.sore),
        }.items():
            wanted[stream] += words
            cares[stream] += bits
    return Case(
        name=name,
        inputs={"job": [job_words], "in": [given]},
        outputs={stream: [words] for stream, words in wanted.items()},
        cares={stream: [bits] for stream, bits in cares.items()},
        jobs=len(generations),
        **options,
    )
