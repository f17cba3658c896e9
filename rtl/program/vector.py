"""The vector unit: element-wise work, pooling, and sums over positions.

It takes *runs* of elements, such as the channels of a position, in `rounds` of some `passes` each.
Elements of the same place in their runs meet in a *line* of `LINE` places, which holds what a round
has found so far, or what was loaded into it at the round's beginning.

A pass takes a run of stream a, of stream b, of both or of neither, and gives for each element

    out = FP16((p + q) x scale),  with relu: out > 0 ? out : +0

with the sum and the product rounded to FP32. What p and q are, the operation says (`OPERATIONS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.stream import Halves, read, stream_fields, write
from nofm.rtl.program.walk import TOTAL_BITS

LINE = 1024
"""Places of the line: the longest run of an operation that uses it. Longer ones are cut."""

OPCODE_BITS = 4


@dataclass(frozen=True)
class Operation:
    """What an operation takes and gives.

    Attributes:
        opcode: its number.
        held: runs of b that each round begins with; they stay in the line.
        a, b: whether each pass takes a run of it.
        reduces: whether the line holds what the passes of a round have found so far, and only the
            last one gives a run; else each pass does.
    """

    opcode: int
    held: int = 0
    a: bool = False
    b: bool = False
    reduces: bool = False

    @property
    def lines(self) -> bool:
        """Whether it uses the line, and its runs have `LINE` elements at most."""
        return self.reduces or self.held > 0


OPERATIONS = {
    "scale": Operation(0, a=True),
    "add": Operation(1, a=True, b=True),
    "add_held": Operation(2, a=True, held=1),
    "gate": Operation(3, a=True, b=True),
    "sum": Operation(4, a=True, reduces=True),
    "largest": Operation(5, a=True, reduces=True),
    "spread": Operation(6, held=1),
    "route": Operation(7, a=True, held=2),
}
"""Operations by name. Where q is not given, it is -0, which changes nothing.

    scale     p = a
    add       p = a, q = b
    add_held  p = a, q = held: bias
    gate      p = a > 0 ? b : +0: backward of ReLU; a is what ReLU gave or got, b the gradient
    sum       p + q is the sum of the round's a, in order: average pooling, bias gradients
    largest   p is the largest of the round's a, NaN above all, of equal ones the first: max pooling
    spread    p = held: backward of average pooling
    route     p = the second held, in the first pass whose a equals the first held, else +0; NaN \
equals NaN: backward of max pooling, where first what it gave is held, and then the gradient
"""


def vector_fields(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a job of the vector unit, and their widths.

    opcode: of one of `OPERATIONS`.
    relu: whether what is not above 0 becomes +0; NaN stays.
    scale: FP32 bits.
    run: elements of a run, less one; below `LINE` where the line is used.
    passes, rounds: passes of a round; rounds; each less one.
    a_..., b_..., out_...: the streams (`stream_fields`), of which each has as many elements as \
the operation takes or gives; those that it does not have mean nothing.
    """
    return {
        "opcode": OPCODE_BITS,
        "relu": 1,
        "scale": 32,
        "run": RUN_BITS,
        "passes": TOTAL_BITS,
        "rounds": TOTAL_BITS,
        **stream_fields(sizes, "a_"),
        **stream_fields(sizes, "b_"),
        **stream_fields(sizes, "out_"),
    }


def vector(sizes: ChipSizes, values: Mapping[str, int], memory: Halves) -> None:
    """What a job does to memory, uint16 elements.

    All is read before anything is written: the unit may be anywhere between the two, so streams
    overlap only where each element is written to the place that it was read from.

    Raises:
        ValueError: streams have other numbers of elements than the operation.
    """
    operation = next(o for o in OPERATIONS.values() if o.opcode == values["opcode"])
    rounds, passes, run = (values[name] + 1 for name in ("rounds", "passes", "run"))
    if operation.lines and run > LINE:
        raise ValueError(f"runs of {run} elements are longer than the line of {LINE}")
    a = _stream(sizes, "a_", values, memory, (rounds, passes * operation.a, run))
    of_round = operation.held + passes * operation.b
    b = _stream(sizes, "b_", values, memory, (rounds, of_round, run))
    scale = np.uint32(values["scale"]).view(np.float32)
    with np.errstate(all="ignore"):
        wide = _OF[operation.opcode](a, b, passes) * scale
        out = wide.astype(np.float16)
    if values["relu"]:
        out = np.where((out > 0) | np.isnan(out), out, np.float16(0))
    bits = np.where(np.isnan(out), np.uint16(0x7E00), out.view(np.uint16))
    write(sizes, "out_", values, bits.reshape(-1), memory)


def _stream(
    sizes: ChipSizes,
    prefix: str,
    values: Mapping[str, int],
    memory: Halves,
    shape: tuple[int, int, int],
) -> Any:
    """float32 of `shape`: rounds, runs of each, elements."""
    if shape[1] == 0:
        return np.zeros(shape, np.float32)
    data = read(sizes, prefix, values, memory)
    if data.size != np.prod(shape):
        raise ValueError(f"{data.size} elements in {prefix}, where the operation takes {shape}")
    return data.view(np.float16).astype(np.float32).reshape(shape)


def _summed(a: Any) -> Any:
    total = a[:, 0]
    for k in range(1, a.shape[1]):
        total = total + a[:, k]
    return total


def _largest(a: Any) -> Any:
    found = a[:, 0]
    for k in range(1, a.shape[1]):
        better = (a[:, k] > found) | (np.isnan(a[:, k]) & ~np.isnan(found))
        found = np.where(better, a[:, k], found)
    return found


def _routed(a: Any, b: Any) -> Any:
    equal = (a == b[:, :1]) | (np.isnan(a) & np.isnan(b[:, :1]))
    first = equal & (np.cumsum(equal, axis=1) == 1)
    return np.where(first, b[:, 1:2], np.float32(0))


_OF: dict[int, Callable[[Any, Any, int], Any]] = {
    OPERATIONS["scale"].opcode: lambda a, b, passes: a,
    OPERATIONS["add"].opcode: lambda a, b, passes: a + b,
    OPERATIONS["add_held"].opcode: lambda a, b, passes: a + b,
    OPERATIONS["gate"].opcode: lambda a, b, passes: np.where(a > 0, b, np.float32(0)),
    OPERATIONS["sum"].opcode: lambda a, b, passes: _summed(a),
    OPERATIONS["largest"].opcode: lambda a, b, passes: _largest(a),
    OPERATIONS["spread"].opcode: lambda a, b, passes: np.repeat(b, passes, axis=1),
    OPERATIONS["route"].opcode: lambda a, b, passes: _routed(a, b),
}
