"""The array that computes: every USPE's registers, stepped cycle by cycle, values included.

It is built from local rules alone (docs/timing.md, "The array"; `simulator.stepping`), and refuses
to go on when two of them collide. So a job that ends proves its schedule realisable, its cycles are
counted and not calculated, and its values have the bits that the hardware gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, DataflowName, hardware_record
from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import Halves, Singles, check_operands
from nofm.simulator import stepping
from nofm.simulator.timing import PARTS

VIOLATIONS = {
    stepping.ROW_NOT_READY: "a fold starts in a row whose weights or activations are not there",
    stepping.OTHER_SUM_FROM_ABOVE: "the sum that arrives from above is of another vector",
    stepping.OTHER_SUM_FED_BACK: "the sum that the adder feeds back is another one",
    stepping.WEIGHTS_NOT_LOADED: "a weight bank is put to use before it is full",
    stepping.WEIGHT_BANK_IN_USE: "a weight is pushed into a bank that is in use",
    stepping.SUM_NOT_WRITTEN: "a sum is read before the accumulation buffer has it",
    stepping.SUM_OUT_OF_ORDER: "a sum leaves the array out of order",
    stepping.WEIGHT_OF_ANOTHER_SLOT: "a weight meets the activations of another slot",
    stepping.SUM_BANK_IN_USE: "a fold takes a sum bank that is not drained",
    stepping.SUM_INCOMPLETE: "a sum is drained before it is complete",
    stepping.DRAIN_IN_USE: "a drain starts while the one before goes on",
    stepping.DRAIN_COLLISION: "a sum is put in a drain register that holds another",
    stepping.STUCK: "nothing more happens",
}
"""What the array can be caught at, in words."""


class ScheduleViolation(RuntimeError):
    """The array's local rules collided: the schedule cannot be built."""


@dataclass(frozen=True, eq=False)
class ArrayRun:
    """What a job gave and took.

    Attributes:
        values: float32 [count, m, n].
        cycles: from the first fetch to the last value being readable.
        uspe_cycles: cycles times rows times columns.
        parts: what became of the cycles, by the names in `simulator.timing.PARTS`.
    """

    values: Singles
    cycles: int
    uspe_cycles: int
    parts: dict[str, int]

    @property
    def stalls(self) -> dict[str, int]:
        """`parts` without the cycles that issue a slot."""
        return {name: cycles for name, cycles in self.parts.items() if name != "issue"}


def run(
    hardware: Accelerator | np.ndarray[Any, Any],
    pattern: Pattern,
    dataflow: DataflowName,
    interleave: int,
    activations: Halves,
    weights: Compressed,
) -> ArrayRun:
    """Run one job: `count` products, one after the other.

    Args:
        hardware: an accelerator, or its `HARDWARE` record.
        pattern: of the weights; g:g for a dense product in groups of g.
        dataflow: "ws" or "os".
        interleave: V, sums that a USPE works on in turn, at most the hardware's.
        activations: float16 [count, m, taps, length].
        weights: compressed float16 [count, groups, N, n].

    Raises:
        InputError: the operands do not fit together, or the hardware cannot do the job.
        ScheduleViolation: the machine as described contradicts itself.
    """
    if isinstance(hardware, Accelerator):
        hardware.require_pattern(pattern)
        hardware = hardware_record(hardware)
    hw = hardware[()]
    _check(hw, pattern, dataflow, interleave, activations, weights)
    count, m, taps, length = activations.shape
    per_run, rows = pattern.groups(length), int(hw["rows"])
    groups, n = weights.groups, weights.n

    # Ragged ends are padded with zeros: bubbles and idle rows multiply 0 by 0.
    grouped = np.zeros((count, m, taps, per_run * pattern.m), np.float16)
    grouped[..., :length] = activations
    grouped = grouped.reshape(count, m, groups, pattern.m)
    # An array row takes one group after another of all vectors in WS, and of one vector in OS.
    if dataflow == "ws":
        grouped = grouped.swapaxes(1, 2)
    grouped = np.pad(grouped, [(0, 0), (0, -grouped.shape[1] % rows), (0, 0), (0, 0)])
    if grouped.size >= 1 << 31:
        raise InputError(
            f"the stepped array takes fewer than 2^31 activations, padded, not {grouped.size}"
        )

    job = stepping.Job(
        rows=rows,
        columns=int(hw["columns"]),
        interleave=interleave,
        adder_cycles=int(hw["adder_cycles"]),
        accumulator_cycles=int(hw["accumulator_cycles"]),
        fetch_cycles=-(-pattern.m // int(hw["group_port_elements"])),
        pn=pattern.n,
        pm=pattern.m,
        products=count,
        m=m,
        groups=groups,
        n=n,
    )
    data = stepping.Data(
        activations=_singles(grouped),
        values=_singles(weights.values),
        indices=weights.unshared().index.astype(np.int32).reshape(-1),
        out=np.zeros(count * m * n, np.float32),
        parts=np.zeros(len(PARTS), np.int64),
    )
    step = stepping.step_ws if dataflow == "ws" else stepping.step_os
    code, cycle, row = step(job, data)
    if code != stepping.FINE:
        raise ScheduleViolation(f"cycle {cycle}, array row {row}: {VIOLATIONS[code]}")
    # The last sum was seen leaving an adder without the multiplier before it; then it is written.
    after = int(hw["multiplier_cycles"] + hw["accumulator_cycles"]) - 1
    cycles = cycle + 1 + after
    data.parts[stepping.FILL] += after
    return ArrayRun(
        values=data.out.reshape(count, m, n),
        cycles=cycles,
        uspe_cycles=cycles * rows * job.columns,
        parts=dict(zip(PARTS, data.parts.tolist(), strict=True)),
    )


def _singles(halves: Halves) -> Singles:
    """float32 of float16, flat: looked up, which is several times as quick as NumPy's cast."""
    bits = np.ascontiguousarray(halves).reshape(-1).view(np.uint16)
    singles = np.empty(bits.size, np.float32)
    stepping.look_up(_single_of_half(), bits, singles)
    return singles


@cache
def _single_of_half() -> Singles:
    """float32 [2^16], by the bits of a float16."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def _check(
    hw: Any,
    pattern: Pattern,
    dataflow: DataflowName,
    interleave: int,
    activations: Halves,
    weights: Compressed,
) -> None:
    has = [name for name in DATAFLOWS if hw[f"has_{name}"]]
    if dataflow not in has:
        raise InputError(f"the array has no dataflow {dataflow!r} (it has: {', '.join(has)})")
    positive("interleave", interleave, at_most=int(hw["interleave"]))
    if pattern.n > hw["weight_registers"]:
        raise InputError(
            f"pattern {pattern.n}:{pattern.m} needs {pattern.n} weight registers, "
            f"and a USPE has {hw['weight_registers']}"
        )
    if weights.pattern != pattern:
        raise InputError(f"weights are compressed {weights.pattern}, not {pattern}")
    check_operands(activations, weights)
