"""Every rule of the stepped array, broken on purpose, is caught: by the array, or by what it gives.

The loops are read as text, changed in one place and interpreted, so that nothing is compiled anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nofm.dataflow.accelerator import DATAFLOWS, DataflowName, load
from nofm.kernels.compressed import compress
from nofm.kernels.pattern import Pattern
from nofm.simulator import array, stepping

SOURCE = Path(stepping.__file__).read_text(encoding="utf-8")
IMPORT = "from numba import njit\n"
PLAIN = "def njit(**_): return lambda function: function\n"


@contextmanager
def interpreted(monkeypatch: pytest.MonkeyPatch, old: str = "", new: str = "") -> Iterator[None]:
    """The loops as plain Python, with one piece of text replaced."""
    if old:
        assert SOURCE.count(old) == 1, f"{old!r} stands {SOURCE.count(old)} times in the source"
    module = ModuleType("interpreted_stepping")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(SOURCE.replace(IMPORT, PLAIN).replace(old, new), module.__dict__)
        patch.setattr(array, "stepping", module)
        yield


@dataclass(frozen=True)
class Job:
    """Sizes of a 2:8 job, and what its machine has instead of 3 x 5 USPEs, L = 4, A = 2, F = 2."""

    interleave: int
    m: int
    groups: int
    n: int
    machine: dict[str, int] = field(default_factory=dict)

    def run(self, dataflow: DataflowName) -> array.ArrayRun:
        rng = np.random.default_rng(5)
        pattern, length = Pattern(2, 8), self.groups * 8
        activations = rng.standard_normal((1, self.m, 1, length)).astype(np.float16)
        weights = rng.standard_normal((1, 1, length, self.n)).astype(np.float16)
        changes = {"rows": 3, "columns": 5, "group_port_elements": 4, **self.machine}
        machine = load("sat-4x4").with_values(**{f"array.{k}": v for k, v in changes.items()})
        return array.run(
            machine, pattern, dataflow, self.interleave, activations, compress(weights, pattern)
        )


SOME = Job(interleave=4, m=6, groups=5, n=7)
"""Two folds along groups and two along columns; rows, columns and blocks are ragged."""

LOADS = Job(interleave=4, m=1, groups=6, n=10)
"""WS waits for weights: a fold lasts 8 cycles, a load 10."""

SUMS = Job(interleave=4, m=1, groups=6, n=3)
"""WS waits for the sums of the group fold before."""

PORT = Job(interleave=4, m=6, groups=6, n=1, machine={"group_port_elements": 1, "adder_cycles": 2})
"""WS and OS wait for activations: a group takes 8 cycles to fetch."""

DRAINS = Job(interleave=8, m=3, groups=1, n=120)
"""OS waits for the drain: a fold lasts 16 cycles, a drain 24."""


@pytest.mark.parametrize("job", [SOME, LOADS, SUMS, PORT, DRAINS])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_interpreted_and_compiled_loops_agree(
    monkeypatch: pytest.MonkeyPatch, dataflow: DataflowName, job: Job
) -> None:
    compiled = job.run(dataflow)
    with interpreted(monkeypatch):
        plain = job.run(dataflow)
    np.testing.assert_array_equal(plain.values, compiled.values)
    assert plain.parts == compiled.parts


def test_the_jobs_wait_for_what_they_say() -> None:
    assert LOADS.run("ws").parts["weight_load"] > 10
    assert SUMS.run("ws").parts["accumulate"] > 0
    assert PORT.run("ws").parts["activation_port"] > 32
    assert PORT.run("os").parts["activation_port"] > 8
    assert DRAINS.run("os").parts["drain"] > 24


@dataclass(frozen=True)
class Broken:
    """A rule, the text that keeps it and one that breaks it, the job that shows it, and what the
    array is caught at; None when only the values or the cycles are wrong."""

    rule: str
    dataflow: DataflowName
    old: str
    new: str
    job: Job
    caught: int | None


BROKEN = [
    Broken(
        "a pass starts before the adder is done",
        "ws",
        "period = 1 if job.pn == 1 else max(sums, job.adder_cycles)",
        "period = sums",
        Job(2, 6, 4, 3),
        stepping.OTHER_SUM_FED_BACK,
    ),
    Broken(
        "a row starts a cycle early",
        "ws",
        "(job.pn - 1) * period + job.adder_cycles,",
        "(job.pn - 1) * period + job.adder_cycles - 1,",
        SOME,
        stepping.OTHER_SUM_FROM_ABOVE,
    ),
    Broken(
        "a row starts a cycle late",
        "ws",
        "(job.pn - 1) * period + job.adder_cycles,",
        "(job.pn - 1) * period + job.adder_cycles + 1,",
        SOME,
        stepping.OTHER_SUM_FROM_ABOVE,
    ),
    Broken(
        "a fold does not wait for its weights",
        "ws",
        "        or t < counters[0, LOAD_END]\n",
        "",
        LOADS,
        stepping.ROW_NOT_READY,
    ),
    Broken(
        "a fold does not wait for its activations",
        "ws",
        "        or t < counters[0, FETCHED]\n",
        "",
        PORT,
        stepping.ROW_NOT_READY,
    ),
    Broken(
        "a fold does not wait for the sums before it",
        "ws",
        "if first_group_fold or returned > following - plan.column_folds:",
        "if True:",
        SUMS,
        stepping.SUM_NOT_WRITTEN,
    ),
    Broken(
        "the accumulation buffer takes a cycle longer",
        "ws",
        "t >= since + job.accumulator_cycles",
        "t >= since + job.accumulator_cycles + 1",
        SUMS,
        stepping.SUM_NOT_WRITTEN,
    ),
    Broken(
        "nothing tells that sums are back",
        "ws",
        "returned += 1",
        "returned += 0",
        SUMS,
        stepping.STUCK,
    ),
    Broken(
        "the last weight does not make a bank full",
        "ws",
        "if t == counters[r, LOAD_END] - 1:",
        "if t == counters[r, LOAD_END]:",
        LOADS,
        stepping.WEIGHTS_NOT_LOADED,
    ),
    Broken(
        "banks are not swapped with the first slot",
        "ws",
        "    counters[r, ACTIVE] += 1\n"
        "    return FINE if counters[r, LOADED] == counters[r, ACTIVE] ",
        "    return FINE if counters[r, LOADED] == counters[r, ACTIVE] + 1 ",
        SOME,
        stepping.WEIGHT_BANK_IN_USE,
    ),
    Broken(
        "weights do not move on to the next column",
        "ws",
        "base[r, entry] -= 1",
        "base[r, entry] -= base[r, entry] == columns",
        SOME,
        None,
    ),
    Broken(
        "a window of weights goes back without those that it holds",
        "ws",
        "            _rewind(value, line, columns, columns)\n",
        "",
        Job(4, 6, 9, 7),
        None,
    ),
    Broken(
        "a job ends with its first column",
        "ws",
        "return t + columns - 1",
        "return t",
        SOME,
        None,
    ),
    Broken(
        "a load is one weight short",
        "ws",
        "counters[r, LOAD_END] = t + used * job.pn",
        "counters[r, LOAD_END] = t + used * job.pn - 1",
        SOME,
        None,
    ),
    Broken(
        "weights come in another order",
        "ws",
        "counters[r, LOAD_COLUMN] -= 1",
        "counters[r, LOAD_COLUMN] -= 2",
        SOME,
        None,
    ),
    Broken(
        "a slot takes the weight of another pass",
        "ws",
        "(counters[r, ACTIVE] & 1) * job.pn + passes",
        "(counters[r, ACTIVE] & 1) * job.pn + job.pn - 1 - passes",
        SOME,
        None,
    ),
    Broken(
        "sums do not enter from above",
        "ws",
        "(own if counters[r, PASS] > 0 else above) * columns",
        "own * columns",
        SOME,
        None,
    ),
    Broken(
        "a bank gives the index of another place",
        "ws",
        "np.uint64(index[weight + c])",
        "np.uint64(index[weight + c] ^ 1)",
        SOME,
        None,
    ),
    Broken(
        "a group fold is taken for the next",
        "ws",
        "    written[at, 0] = group_fold\n",
        "    written[at, 0] = group_fold + 1\n",
        SOME,
        stepping.SUM_NOT_WRITTEN,
    ),
    Broken(
        "no sum is read back",
        "ws",
        "used = counters[0, USED] if group_fold > 0 else 0",
        "used = 0",
        SOME,
        None,
    ),
    Broken(
        "a pass starts before the adder is done",
        "os",
        "            period = max(sums, job.adder_cycles)\n",
        "            period = sums\n",
        Job(2, 6, 4, 6),
        stepping.OTHER_SUM_FED_BACK,
    ),
    Broken(
        "a fold does not wait for the drain",
        "os",
        "if counters[DRAINED] - t <= fold_cycles:",
        "if True:",
        DRAINS,
        stepping.DRAIN_IN_USE,
    ),
    Broken(
        "a fold starts a cycle early",
        "os",
        "if counters[DRAINED] - t <= fold_cycles:",
        "if counters[DRAINED] - t <= fold_cycles + 1:",
        DRAINS,
        stepping.DRAIN_IN_USE,
    ),
    Broken(
        "a fold starts a cycle late",
        "os",
        "if counters[DRAINED] - t <= fold_cycles:",
        "if counters[DRAINED] - t < fold_cycles:",
        DRAINS,
        None,
    ),
    Broken(
        "a drain starts a cycle early",
        "os",
        "rows - 1 + adder_cycles - 1,",
        "rows - 1 + adder_cycles - 2,",
        Job(1, 4, 2, 3, {"adder_cycles": 1}),
        stepping.SUM_INCOMPLETE,
    ),
    Broken(
        "a drain starts a cycle late",
        "os",
        "rows - 1 + adder_cycles - 1,",
        "rows - 1 + adder_cycles,",
        SOME,
        None,
    ),
    Broken(
        "a drain never starts",
        "os",
        "drains[(drain_at + plan.drain_delay) % drains.size] = counters[FOLD]",
        "pass",
        Job(4, 3, 4, 12),
        stepping.STUCK,
    ),
    Broken(
        "the chain shifts once too little",
        "os",
        "if counters[DRAIN_SHIFT] == job.rows:",
        "if counters[DRAIN_SHIFT] == job.rows - 1:",
        SOME,
        stepping.DRAIN_COLLISION,
    ),
    Broken(
        "the chain shifts once too often",
        "os",
        "if counters[DRAIN_SHIFT] == job.rows:",
        "if counters[DRAIN_SHIFT] == job.rows + 1:",
        SOME,
        stepping.SUM_OUT_OF_ORDER,
    ),
    Broken(
        "all folds use one sum bank",
        "os",
        "k = FILLED + (counters[FOLD] & 1) * job.interleave + turn",
        "k = FILLED + turn",
        SOME,
        stepping.SUM_BANK_IN_USE,
    ),
    Broken(
        "all drains read one sum bank",
        "os",
        "place = r * 2 * job.interleave + (fold & 1) * job.interleave + turn",
        "place = r * 2 * job.interleave + turn",
        SOME,
        stepping.SUM_INCOMPLETE,
    ),
    Broken(
        "rows take activations a cycle late",
        "os",
        "group = unit[base + r]",
        "group = unit[base + r + 1]",
        SOME,
        stepping.WEIGHT_OF_ANOTHER_SLOT,
    ),
    Broken(
        "rows take their slot's control a cycle late",
        "os",
        "        k = control[base + r]\n",
        "        k = control[base + r + (r > 0)]\n",
        SOME,
        None,
    ),
    Broken(
        "a weight comes with the index of another place",
        "os",
        "_copy(used, at, top, indices, index)",
        "_copy(used, max(at - 1, 0), top, indices, index)",
        SOME,
        None,
    ),
    Broken(
        "the port stops after the last group",
        "os",
        "elif t >= counters[FETCHED]:",
        "elif t >= counters[FETCHED] or counters[GROUP] == job.groups - 1:",
        Job(1, 3, 2, 3, {"group_port_elements": 1, "adder_cycles": 2}),
        None,
    ),
    Broken(
        "weights take longer from row to row",
        "os",
        "            (base + r) * columns,\n",
        "            (base + r + (r > 0)) * columns,\n",
        SOME,
        None,
    ),
    Broken(
        "a window goes back without what it holds",
        "os",
        "            _rewind(value, 0, depth * columns, SPAN * columns)\n",
        "",
        Job(4, 6, 40, 7),
        None,
    ),
    Broken(
        "a job ends with its first column",
        "os",
        "return t + columns - 1",
        "return t",
        SOME,
        None,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.dataflow}: {broken.rule}")
def test_a_broken_rule_is_caught(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    good = broken.job.run(broken.dataflow)
    with interpreted(monkeypatch, broken.old, broken.new):
        if broken.caught is None:
            bad = broken.job.run(broken.dataflow)
            same = np.array_equal(bad.values, good.values) and bad.parts == good.parts
            assert not (same and bad.cycles == good.cycles)
        else:
            with pytest.raises(array.ScheduleViolation) as error:
                broken.job.run(broken.dataflow)
            assert str(error.value).endswith(f": {array.VIOLATIONS[broken.caught]}")


def test_every_violation_has_been_seen() -> None:
    assert {broken.caught for broken in BROKEN} - {None} == set(array.VIOLATIONS)
