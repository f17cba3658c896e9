"""The golden array reads its lanes as `rtl.stce.streams` writes them, and adds as the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.compressed import compress, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.rtl.program.array import compute, needed
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob
from nofm.rtl.stce.streams import (
    activation_lanes,
    column_weight_lanes,
    result_lanes,
    row_weight_lanes,
)

NONE = np.zeros((0, 0, 0), np.float32)


def random_job(rng: np.random.Generator) -> tuple[Geometry, StceJob, Any, Any]:
    accelerator = load("sat-4x4").with_values(
        **{
            "array.rows": int(rng.integers(1, 6)),
            "array.columns": int(rng.choice([1, 2, 4])),
            "array.group_port_elements": int(rng.choice([1, 2, 8])),
        }
    )
    geometry = Geometry.of(accelerator)
    pattern = Pattern.parse(str(rng.choice(["1:1", "2:4", "1:4", "4:16", "3:5", "2:2"])))
    taps, length, m, n = (int(rng.integers(1, most)) for most in (4, 20, 14, 14))
    a = rng.standard_normal((1, m, taps, length)).astype(np.float16)
    dense = rng.standard_normal((1, taps, length, n)).astype(np.float16)
    job = StceJob(
        dataflow="ws" if rng.random() < 0.5 else "os",
        pattern=pattern,
        interleave=int(rng.integers(1, 9)),
        count=1,
        m=m,
        groups=taps * pattern.groups(length),
        n=n,
    )
    return geometry, job, a, compress(dense, pattern)


def lanes_of(geometry: Geometry, job: StceJob, a: Any, w: Any) -> tuple[Any, Any]:
    weights = row_weight_lanes if job.dataflow == "ws" else column_weight_lanes
    return activation_lanes(geometry, job, a), weights(geometry, job, w)


def test_any_job() -> None:
    """The lanes of a job give the golden results, whatever its sizes."""
    rng = np.random.default_rng(1)
    for _ in range(150):
        geometry, job, a, w = random_job(rng)
        activations, weights = lanes_of(geometry, job, a, w)
        fields = job.fields(geometry)
        assert needed(geometry, fields) == (list(map(len, activations)), list(map(len, weights)))
        lanes, sums = compute(geometry, fields, activations, weights, NONE)
        assert lanes == result_lanes(geometry, job, matmul(a, w))
        assert sums.size == 0


def test_jobs_that_continue_each_other() -> None:
    """A reduction in two jobs adds in the same order as in one."""
    rng = np.random.default_rng(2)
    done = 0
    while done < 30:
        geometry, job, a, w = random_job(rng)
        cut = job.pattern.m
        if job.dataflow == "os" or w.taps > 1 or a.shape[3] <= cut:
            continue
        done += 1
        lanes: Any = None
        sums: Any = NONE
        dense = decompress(w)
        for first, last in ((0, cut), (cut, a.shape[3])):
            part = compress(np.ascontiguousarray(dense[:, :, first:last]), job.pattern)
            own = replace(job, groups=part.groups, continues=first > 0, continued=last < a.shape[3])
            fed = lanes_of(geometry, own, np.ascontiguousarray(a[..., first:last]), part)
            lanes, sums = compute(geometry, own.fields(geometry), *fed, sums)
        assert lanes == result_lanes(geometry, job, matmul(a, w))


def test_a_cut_reduction_in_the_reference() -> None:
    """All taps of the first piece come before those of the next."""
    rng = np.random.default_rng(3)
    a = (rng.standard_normal((1, 4, 3, 10)) * 2.0 ** rng.integers(-9, 9, 10)).astype(np.float16)
    w = rng.standard_normal((1, 3, 10, 5)).astype(np.float16)
    pieces = [(first, min(first + 4, 10)) for first in (0, 4, 8)]
    order = [tap * 10 + k for first, last in pieces for tap in range(3) for k in range(first, last)]
    flat_a, flat_w = a.reshape(1, 4, 1, 30), w.reshape(1, 1, 30, 5)
    one_run = matmul(flat_a[..., order], np.ascontiguousarray(flat_w[:, :, order]))
    assert np.array_equal(matmul(a, w, 4), one_run)
    assert not np.array_equal(matmul(a, w), one_run)
    sparse = compress(w, Pattern(2, 4))
    assert np.array_equal(matmul(a, sparse, 4), matmul(a, decompress(sparse), 4))
    assert np.array_equal(matmul(a, sparse, 10), matmul(a, sparse))
    with pytest.raises(InputError, match="tile_length must be a multiple of 4, not 6"):
        matmul(a, sparse, 6)
