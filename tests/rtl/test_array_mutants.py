"""The proof of the array proves something: each of these broken arrays is caught.

Only the module that is broken is emitted again; the rest, the jobs and the checks are those of the
sound array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.pattern import Pattern
from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.bench.cases import Case
from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Emitted, Unit, emitted
from nofm.rtl.stce.cases import case
from nofm.rtl.stce.column_edge import ColumnEdge
from nofm.rtl.stce.delay import Delay
from nofm.rtl.stce.drain import Drain
from nofm.rtl.stce.fetch import Fetch
from nofm.rtl.stce.fold_walk import FoldWalk
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.load import Load
from nofm.rtl.stce.row_edge import RowEdge
from nofm.rtl.stce.sequencer import Sequencer
from nofm.rtl.stce.slots import Slots
from nofm.rtl.stce.stce import Stce
from nofm.rtl.stce.sum_walk import SumWalk
from nofm.rtl.stce.uspe import Uspe
from nofm.rtl.tools.cocotb_runner import SimulationError, replay
from nofm.verification import Gemm, matmul_job, scheduled

# An accumulation buffer of two cycles, and adders that make the interleaved sums wait for them.
SMALL = load("sat-4x4").with_values(
    **{
        "array.rows": 2,
        "array.columns": 2,
        "array.interleave": 3,
        "array.adder_cycles": 2,
        "array.group_port_elements": 4,
        "array.patterns": ["2:4", "2:8"],
        "array.weight_registers": 2,
    }
)
GEOMETRY = Geometry.of(SMALL)

MUTANTS: dict[str, tuple[type[Unit], str, str, str]] = {
    "wrong index select": (Uspe, "_multiply", "index, WIDTH", "index ^ 1, WIDTH"),
    "stale weight bank": (Uspe, "_weight", "in_use ^ (self.slot.slot & self.slot.swap)", "in_use"),
    "weights pushed into the bank in use": (Uspe, "_weight", "(now != b)", "(now == b)"),
    "bank shorter than N": (Uspe, "_weight", "Array(banks[0])[self.last_entry]", "banks[0][0]"),
    "weight of another entry": (Uspe, "_weight", "entry = self.slot.entry", "entry = 0"),
    "sum above not taken": (Uspe, "_accumulate", "Mux(from_above,", "Mux(0,"),
    "sum not fed back": (Uspe, "_accumulate", "Mux(from_adder, adder.sum, kept)", "kept"),
    "sum bank not bypassed": (
        *(Uspe, "_accumulate", "Mux(done.slot & (done.sum == soon.sum), adder.sum, read.data)"),
        "read.data",
    ),
    "old sum not cleared": (Uspe, "_accumulate", "kept.eq(0)", "kept.eq(kept)"),
    "chain without its neighbour": (
        *(Uspe, "_accumulate", "chain.eq(self.drain_above)"),
        "chain.eq(0)",
    ),
    "off-by-one drain": (Drain, "elaborate", "out.sum.eq(turn)", "out.sum.eq(turn + 1)"),
    "drain a cycle late": (Drain, "elaborate", "g.adder_cycles - 2", "g.adder_cycles - 1"),
    "drain of the other bank": (Drain, "elaborate", "bank.eq(~bank)", "bank.eq(bank)"),
    "idle rows drained": (Drain, "elaborate", "(~short | (row < job.rows_last))", "1"),
    "job over a cycle early": (Sequencer, "_finish", "(left == 0)", "(left == 1)"),
    "next job's sums counted with this one's": (
        Sequencer,
        "_jobs",
        "job.eq(job_next)",
        "job.eq(0)",
    ),
    "unit begins a cycle late": (Sequencer, "_time", "Mux(last, short_last, short)", "0"),
    "waits as for the last columns": (
        *(Sequencer, "_drained", "Mux(walk.last_columns, into_last, neither)"),
        "into_last",
    ),
    "fold does not wait for the drain": (
        Sequencer,
        "_drained",
        "Mux(self.open, prompt,",
        "Mux(1, 1,",
    ),
    "fold does not wait for its weights": (*(Sequencer, "_returned", "self.loaded & ("), "("),
    "sums read before they are back": (
        *(Sequencer, "_returned", "(walk.first_outer | few)"),
        "1",
    ),
    "fold under way forgotten": (*(Sequencer, "_returned", "under_way + more"), "under_way"),
    "ragged block fetched whole": (
        *(Sequencer, "_expand", "Mux(self.last_unit, self.single, self.next_last)"),
        "0",
    ),
    "fold after the next fetched": (
        Sequencer,
        "_expand",
        "walk.short, self.short",
        "0, self.short",
    ),
    "folds stop a product early": (
        *(FoldWalk, "elaborate", "outer.last & products.last"),
        "outer.last",
    ),
    "row delay one short": (Delay, "elaborate", "write.addr + 3", "write.addr + 4"),
    "old control not masked": (Delay, "elaborate", "Mux(ripe,", "Mux(1,"),
    "weights of ragged columns loaded too": (
        *(Load, "elaborate", "Mux(self.last_columns, job.columns_last,"),
        "Mux(0, job.columns_last,",
    ),
    "block ends a pass early": (
        *(Slots, "elaborate", "last_pass.eq(passes == job.passes)"),
        "last_pass.eq((passes + 1 == job.passes) | (job.passes == 0))",
    ),
    "ragged columns get weights": (Slots, "elaborate", "(turn == job.sums_last)", "0"),
    "slots of idle vectors": (
        *(Slots, "elaborate", "stationary & self.last_unit, job.sums_ragged"),
        "0, job.sums_ragged",
    ),
    "a beat of a group is skipped": (Fetch, "elaborate", "beat == job.beats", "beat == 0"),
    "replay buffer has one half": (
        *(RowEdge, "_replay", "Cat(now.fetch_sum, now.fetch_half)"),
        "now.fetch_sum",
    ),
    "idle rows load weights": (
        *(RowEdge, "elaborate", "control.load_short & idle"),
        "0 & idle",
    ),
    "dense without its numbers": (
        *(RowEdge, "elaborate", "Mux(dense, now.load_slot,"),
        "Mux(0, now.load_slot,",
    ),
    "first fold does not start at +0": (
        *(ColumnEdge, "_sums", "Mux(zero, 0, reads.data)"),
        "reads.data",
    ),
    "idle columns written": (ColumnEdge, "elaborate", "(self.number < write.used)", "1"),
    "sum walk ignores group folds": (
        SumWalk,
        "elaborate",
        "last_fold.eq(groups.last)",
        "last_fold.eq(1)",
    ),
    "one beat dropped": (Elastic, "elaborate", "self.level != DEPTH", "1"),
    "no round bit": (Adder, "_normalise", "return v.total[last - 1] &", "return 0 &"),
    "infinity is a number": (Adder, "_compare", "field.all()", "Const(0, 1)"),
}


def gemm(dataflow: Any, pattern: str, seed: int, **changes: Any) -> Gemm:
    sizes = {"m": 5, "length": 21, "n": 5, "interleave": 3, "special": 0.1, **changes}
    return Gemm(dataflow=dataflow, pattern=Pattern.parse(pattern), seed=seed, **sizes)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Few, but each rule of the array decides something in one of them."""
    gemms = [
        gemm("ws", "2:8", 1, special=0.0, m=4),
        gemm("os", "2:4", 2, count=2),
        gemm("ws", "2:4", 3, interleave=2, m=3, length=40, special=0.0),
        Gemm(m=4, length=5, n=3, pattern=Pattern(2, 2), dataflow="ws", seed=4, interleave=1),
        Gemm(m=3, length=1, n=13, pattern=Pattern(1, 1), dataflow="os", seed=5, interleave=3),
        gemm("ws", "2:8", 6, taps=2, length=19, m=1, n=2, interleave=1),
        Gemm(m=3, length=3, n=5, pattern=Pattern(2, 2), dataflow="os", seed=6, interleave=3),
        Gemm(m=4, length=3, n=3, pattern=Pattern(1, 1), dataflow="ws", seed=7, interleave=1),
    ]
    jobs = [matmul_job(scheduled(each, SMALL), SMALL) for each in gemms]
    streams = ("activations", "row_weights", "column_weights")
    return [
        case("steady", GEOMETRY, jobs),
        case(
            "frozen",
            GEOMETRY,
            jobs[:2],
            idle=dict.fromkeys(streams, "random:0.6"),
            backpressure={"results": "bursts:1:9"},
        ),
        case("reset", GEOMETRY, jobs[:1], reset_at=30),
        *(case("alone", GEOMETRY, [job]) for job in jobs[:2]),
    ]


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Stce(GEOMETRY)))


def caught(sources: dict[str, str], cases: list[Case], folder: Path) -> bool:
    try:
        run = replay(sources, "nofm_stce", cases, folder=folder, tool="icarus")
    except SimulationError:
        return True
    found = run.results["cases"]
    right = all(each["bit_exact"] and each["counters_equal"] for each in found)
    return not right or not all(on_time(each) for each in found if each["name"] == "alone")


def on_time(found: dict[str, Any]) -> bool:
    """Whether a job's last result comes when it must: the job ends when the sum can be read in the
    accumulation buffer, and would have come a column later if the last column were in use."""
    late = found["jobs"][-1]["done_cycle"] - found["last_words"]["results"]
    return bool(late == GEOMETRY.accumulator_cycles - 2 + 1)


def test_the_sound_array_passes(sound: list[Emitted], cases: list[Case], tmp_path: Path) -> None:
    assert not caught({each.unit.module_name: each.verilog for each in sound}, cases, tmp_path)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    cases: list[Case],
    tmp_path: Path,
) -> None:
    kind, method, old, new = MUTANTS[name]
    mutate(kind, method, old, new, monkeypatch)
    changed = remake(sound, kind)
    assert caught(changed, [cases[0]], tmp_path) or caught(changed, cases[1:], tmp_path)
