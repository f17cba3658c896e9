"""Dense training."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.workloads.methods.record import Method


@dataclass(frozen=True, kw_only=True)
class Dense(Method):
    """Nothing is pruned."""

    name: str = "dense"
    title: str = "Dense"
    reference: str = "nothing is pruned"
