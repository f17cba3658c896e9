"""Number formats: how many bits an element takes. One table."""

from __future__ import annotations

from typing import Literal

FormatName = Literal["fp16", "bf16", "fp8", "int8", "fp32"]

BITS: dict[str, int] = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp32": 32}
"""Bits of one element by format."""
