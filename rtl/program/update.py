"""The update unit: SGD over a weight as it streams by, and the compressed forms of what comes out.

Its streams have the weight's parameters in the order of the pruner's beats
(`pregeneration.stream.order`), without gaps: for each tap, for each group of M rows (the last may
have fewer), for each slot of E columns (the last may have fewer), for each row of the group, the
slot's columns. E is the pruner's lanes, or half of them where both forms are made
(`SoreJob.elements`). FP32 numbers are two FP16 elements, the low half first.

A tensor that is not pruned, such as a bias, is a job of one row: its parameters then pass in the
order of its columns, which is that of memory (`plain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nofm.kernels.optimizer import Sgd, update
from nofm.kernels.pattern import Pattern
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import job_fields
from nofm.rtl.pregeneration.stream import order
from nofm.rtl.program.forms import forms_fields, sore_job, write_forms
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import Halves, as_halves, as_singles, read, stream_fields, write
from nofm.rtl.sore.job import SoreJob

STREAMS = ("weight_", "momentum_", "gradient_", "new_weight_", "new_momentum_", "half_")
"""Masters, momenta and gradients that are read; masters, momenta and FP16 weights that are
written."""


def update_fields(sizes: ChipSizes, geometry: Geometry) -> dict[str, int]:
    """Fields of a job of the update unit, and their widths.

    Those of the chain's job (`pregeneration.job.job_fields`, values from `PregenerationJob`), those
    of the forms (`forms_fields`), and
    halves: whether the new weights are written as FP16, in the same order.
    weight_..., momentum_..., gradient_..., new_weight_..., new_momentum_..., half_...: streams \
(`stream_fields`).
    """
    fields = {**job_fields(geometry), "halves": 1}
    for prefix in STREAMS:
        fields |= stream_fields(sizes, prefix)
    return fields | forms_fields(sizes)


def plain(geometry: Geometry, elements: int) -> SoreJob:
    """The pruner's job of a tensor that is updated and not pruned."""
    pattern = Pattern(1, geometry.sore.group)
    return SoreJob(pattern=pattern, taps=1, length=1, columns=elements)


def beat_order(geometry: Geometry, job: SoreJob) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which parameter of the matrix [taps, length, columns] each element of a stream is: int64
    [taps x length x columns]."""
    by = order(job, geometry)
    return by[by >= 0]


def do_update(
    sizes: ChipSizes, geometry: Geometry, values: Mapping[str, int], memory: Halves
) -> None:
    """What a job does to memory, uint16 elements. A stream that is written may lie where the same
    numbers were read."""
    job = sore_job(geometry.sore, values)
    by = beat_order(geometry, job)
    shape = (job.taps, job.length, job.columns)
    weights, momenta, gradients = (
        read(sizes, prefix, values, memory) for prefix in ("weight_", "momentum_", "gradient_")
    )
    hyper = {
        name: float(np.uint32(values[name]).view(np.float32))
        for name in ("learning_rate", "momentum", "weight_decay")
    }
    after = update(
        as_singles(weights), as_singles(momenta), gradients.view(np.float16), Sgd(**hyper)
    )
    write(sizes, "new_weight_", values, as_halves(after.weights), memory)
    write(sizes, "new_momentum_", values, as_halves(after.momenta), memory)
    if values["halves"]:
        write(sizes, "half_", values, as_halves(after.halves), memory)
    dense = np.zeros(len(by), np.float16)
    dense[by] = after.halves
    write_forms(sizes, job, values, dense.reshape(shape), memory)
