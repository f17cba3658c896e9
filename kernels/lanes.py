"""The vectors of this processor."""

from __future__ import annotations

import platform

from llvmlite import binding


def _lanes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx") else 4


LANES = _lanes()
"""Singles of a vector: 16 with AVX-512, 8 with AVX, 4 elsewhere (SSE, NEON)."""

HALVES = bool(binding.get_host_cpu_features().get("f16c")) or platform.machine() in (
    "aarch64",
    "arm64",
)
"""Whether halves become singles in one instruction."""
