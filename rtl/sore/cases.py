"""Cases for the bench: jobs with their matrices, and what the golden model says must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.kernels.compressed import compress
from nofm.kernels.pattern import Pattern
from nofm.rtl.bench.cases import Case
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.stream import Halves, input_beats, output_beats


@dataclass(frozen=True, eq=False)
class Pruning:
    """A job with its data.

    Attributes:
        dense: float16 [taps, length, columns].
        pattern: N:M.
        both: whether groups along the columns are made as well as those along the rows.
    """

    dense: Halves
    pattern: Pattern
    both: bool = False

    @property
    def job(self) -> SoreJob:
        """The job."""
        taps, length, columns = self.dense.shape
        return SoreJob(
            pattern=self.pattern, taps=taps, length=length, columns=columns, both=self.both
        )


def case(name: str, geometry: Geometry, prunings: Sequence[Pruning], **options: Any) -> Case:
    """The jobs of `prunings`, one after the other.

    Args:
        name: of the case.
        geometry: of the engine.
        prunings: jobs with their data.
        options: further attributes of the case.
    """
    job_words, given, wanted, cares = [], [], [], []
    for item in prunings:
        job = item.job
        forms = [compress(item.dense, item.pattern)]
        if item.both:
            forms.append(compress(np.swapaxes(item.dense, 1, 2), item.pattern))
        words, bits = output_beats(forms, job, geometry)
        job_words.append(job.encode(geometry))
        given += input_beats(item.dense, job, geometry)
        wanted += words
        cares += bits
    return Case(
        name=name,
        inputs={"job": [job_words], "in": [given]},
        outputs={"out": [wanted]},
        cares={"out": [cares]},
        jobs=len(prunings),
        **options,
    )
