"""The prune unit: compressed forms of a dense FP16 matrix, without an update.

Its stream has the matrix in the order of the pruner's beats, as the update unit's streams have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.rtl.program.forms import forms_fields, sore_job, write_forms
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import Halves, read, stream_fields
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob, job_fields
from nofm.rtl.sore.stream import walk


def prune_fields(sizes: ChipSizes, geometry: Geometry) -> dict[str, int]:
    """Fields of a job of the prune unit, and their widths.

    Those of the pruner's job (`sore.job_fields`, values from `SoreJob.fields`), those of the forms
    (`forms_fields`), and
    dense_...: the matrix (`stream_fields`).
    """
    return {**job_fields(geometry), **stream_fields(sizes, "dense_"), **forms_fields(sizes)}


def beat_order(geometry: Geometry, job: SoreJob) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which element of the matrix [taps, length, columns] each element of the stream is: int64
    [taps x length x columns]."""
    e = job.elements(geometry)
    return np.concatenate(
        [
            (tap * job.length + row) * job.columns + np.arange(first, min(first + e, job.columns))
            for tap, row, first, _ in walk(job, geometry)
        ]
    )


def prune(sizes: ChipSizes, geometry: Geometry, values: Mapping[str, int], memory: Halves) -> None:
    """What a job does to memory, uint16 elements."""
    job = sore_job(geometry, values)
    by = beat_order(geometry, job)
    dense = np.zeros(len(by), np.float16)
    dense[by] = read(sizes, "dense_", values, memory).view(np.float16)
    write_forms(sizes, job, values, dense.reshape(job.taps, job.length, job.columns), memory)
