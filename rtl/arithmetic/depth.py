"""Depths of pipelines."""

from __future__ import annotations

from nofm.kernels.errors import positive

MAX_DEPTH = 64


def check_depth(what: str, depth: int) -> int:
    """`depth`, or an `InputError` when it is no depth that a pipeline can have."""
    return positive(f"{what} depth", depth, at_most=MAX_DEPTH)
