"""Cases for the bench: jobs with their data, and what the golden model says must come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nofm.kernels.compressed import Compressed
from nofm.kernels.reference import Halves, Singles, matmul
from nofm.rtl.bench.cases import Case
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob
from nofm.rtl.stce.sequencer import PARTS
from nofm.rtl.stce.stce import CAUSES
from nofm.rtl.stce.streams import (
    activation_lanes,
    column_weight_lanes,
    result_lanes,
    row_weight_lanes,
)

STALLS = tuple(f"count_stalled_{cause}" for cause in CAUSES)
"""Counters of frozen cycles: what they show depends on the streams' patterns."""


@dataclass(frozen=True, eq=False)
class Matmul:
    """A job with its data and its time.

    Attributes:
        job: sizes, pattern, dataflow, interleave.
        activations: float16 [count, m, taps, length].
        weights: compressed float16 [count, groups, N, n].
        cycles: that the job must take.
        parts: what they must go to, by the names of `PARTS`.
        sums: float32 [count, m, n] that a job must give which continues others; without them it
            must give the product.
    """

    job: StceJob
    activations: Halves
    weights: Compressed
    cycles: int
    parts: Mapping[str, int]
    sums: Singles | None = None


def case(name: str, geometry: Geometry, jobs: Sequence[Matmul], **options: Any) -> Case:
    """Jobs, one after the other without a pause.

    Args:
        name: of the case.
        geometry: of the array.
        jobs: with their data.
        options: further attributes of the case.
    """
    inputs: dict[str, list[list[int]]] = {
        "job": [[]],
        "activations": [[] for _ in range(geometry.rows)],
        "row_weights": [[] for _ in range(geometry.rows)],
        "column_weights": [[] for _ in range(geometry.columns)],
    }
    outputs: dict[str, list[list[int]]] = {"results": [[] for _ in range(geometry.columns)]}
    counters: dict[str, list[int]] = {"count_busy": [], **{f"count_{p}": [] for p in PARTS}}
    for each in jobs:
        job = each.job
        words = {
            "job": [[job.encode(geometry)]],
            "activations": activation_lanes(geometry, job, each.activations),
            "row_weights": row_weight_lanes(geometry, job, each.weights),
            "column_weights": column_weight_lanes(geometry, job, each.weights),
        }
        for stream, lanes in words.items():
            _extend(inputs[stream], lanes)
        if not job.continued:
            golden = matmul(each.activations, each.weights) if each.sums is None else each.sums
            _extend(outputs["results"], result_lanes(geometry, job, golden))
        counters["count_busy"].append(each.cycles)
        for part in PARTS:
            counters[f"count_{part}"].append(each.parts[part])
    return Case(
        name=name,
        inputs=inputs,
        outputs=outputs,
        jobs=len(jobs),
        counters=counters,
        **{"limit": limit(jobs), **options},
    )


def limit(jobs: Sequence[Matmul]) -> int:
    """Cycles after which jobs have failed, with streams that move every fourth cycle or so."""
    return 1000 + 20 * sum(each.cycles for each in jobs)


def _extend(lanes: list[list[int]], words: list[list[int]]) -> None:
    for lane, more in zip(lanes, words, strict=True):
        lane += more
