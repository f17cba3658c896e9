"""What pictures and the page of a sweep must know of its space, beside the table of its designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nofm.dataflow.accelerator import Accelerator
from nofm.workloads.trace import Trace

Traces = Mapping[tuple[str, int | None], Trace]
"""Layers of the training step by workload and batch; None stands for a workload's own batch."""


class _Objective(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def maximise(self) -> bool: ...


class _Space(Protocol):
    @property
    def base(self) -> Accelerator: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def objectives(self) -> Sequence[_Objective]: ...
    @property
    def traces(self) -> Traces: ...


@dataclass(frozen=True)
class SpaceInfo:
    """A design space, as far as its results are shown.

    Attributes:
        base: gives every entry of the hardware that is no parameter.
        parameters: columns of the table that were chosen, not found: the training step's (workload,
            batch, method, pattern), its options, and entries of the hardware by dotted name.
        objectives: columns that the front is of, and whether more is better.
        fixed: parameters of the training step that have no column.
        traces: the layers of workloads that have no name that finds them.
    """

    base: Accelerator
    parameters: tuple[str, ...]
    objectives: Mapping[str, bool]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    traces: Traces = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, space: _Space) -> SpaceInfo:
        """The same of a space that was swept."""
        return cls(
            base=space.base,
            parameters=tuple(space.names),
            objectives={one.name: one.maximise for one in space.objectives},
            traces=space.traces,
        )
