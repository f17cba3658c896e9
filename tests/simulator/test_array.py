"""The stepped array against the recurrences of docs/timing.md, the closed forms and the reference.

The recurrences are written out here fold by fold: they are the naive form of both the closed forms
(`simulator.timing`) and of what the stepped array counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.dataflow.accelerator import DATAFLOWS, HARDWARE, load
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.simulator.array import run
from nofm.simulator.timing import PARTS, array_cycles

Array = np.ndarray[Any, Any]

PATTERNS = [
    *(Pattern(g, g) for g in (1, 2, 3, 4)),
    *map(Pattern.parse, ("1:2", "1:4", "2:4", "1:8", "2:8", "4:8", "2:16", "3:5")),
]
SPECIAL = np.array(
    [0.0, -0.0, 1, -1, 1, -1, 6e-8, -6e-8, 6e-5, 65504, -65504, np.inf, -np.inf, np.nan]
)


@dataclass(frozen=True)
class Case:
    """A machine and a job. `special` is the share of zeros, ties, subnormals, infinities, NaN."""

    rows: int
    columns: int
    interleave: int
    multiplier: int
    adder: int
    accumulator: int
    port: int
    pattern: Pattern
    count: int
    m: int
    taps: int
    length: int
    n: int
    special: float = 0.0
    seed: int = 0

    def hardware(self) -> Array:
        record = np.zeros((), HARDWARE)
        record["rows"], record["columns"] = self.rows, self.columns
        record["interleave"] = 8
        record["multiplier_cycles"], record["adder_cycles"] = self.multiplier, self.adder
        record["accumulator_cycles"] = self.accumulator
        record["group_port_elements"], record["weight_registers"] = self.port, 4
        record["has_ws"] = record["has_os"] = 1
        return record

    def operands(self) -> tuple[Array, Compressed]:
        rng = np.random.default_rng(self.seed)

        def draw(*shape: int) -> Array:
            values = rng.standard_normal(shape) * 2.0 ** rng.integers(-14, 8, shape)
            specials = rng.choice(SPECIAL, shape)
            return np.where(rng.random(shape) < self.special, specials, values).astype(np.float16)

        activations = draw(self.count, self.m, self.taps, self.length)
        weights = draw(self.count, self.taps, self.length, self.n)
        return activations, compress(weights, self.pattern)


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def ws_parts(case: Case) -> dict[str, int]:
    """S(i) of docs/timing.md, fold by fold."""
    big_n, groups = case.pattern.n, case.taps * case.pattern.groups(case.length)
    v = 1 if big_n == 1 else case.interleave
    p = 1 if big_n == 1 else max(v, case.adder)
    fetch = v * ceil(case.pattern.m, case.port)
    block, blocks = max(big_n * p, fetch), ceil(case.m, v)
    delay = (big_n - 1) * p + case.adder
    folds = [
        (product, f, j)
        for product in range(case.count)
        for f in range(ceil(groups, case.rows))
        for j in range(ceil(case.n, case.columns))
    ]
    parts = dict.fromkeys(PARTS, 0)
    starts: dict[tuple[int, int, int], int] = {}
    now = 0
    for product, f, j in folds:
        load = min(case.columns, case.n - j * case.columns) * big_n
        if not starts:
            now = max(load, fetch)
            parts["weight_load"] += load
            parts["activation_port"] += now - load
        else:
            now += blocks * block
            late = max(0, load - blocks * block)
            parts["weight_load"] += late
            now += late
            if f > 0:
                back = starts[product, f - 1, j] + case.rows * delay + case.accumulator
                parts["accumulate"] += max(0, back - now)
                now = max(now, back)
        starts[product, f, j] = now
        parts["issue"] += big_n * case.m
        parts["interleave"] += blocks * big_n * p - big_n * case.m
        parts["activation_port"] += blocks * (block - big_n * p)
    last_sum = (case.m - 1) % v
    parts["interleave"] -= p - 1 - last_sum
    parts["activation_port"] -= block - big_n * p
    last_slot = now + (blocks - 1) * block + (big_n - 1) * p + last_sum
    cycles = last_slot + (case.rows - 1) * delay + case.columns - 1
    cycles += case.multiplier + case.adder + case.accumulator
    parts["fill"] = cycles - last_slot - 1
    assert sum(parts.values()) == cycles
    return parts


def os_parts(case: Case) -> dict[str, int]:
    """E(i) of docs/timing.md, fold by fold."""
    big_n, groups = case.pattern.n, case.taps * case.pattern.groups(case.length)
    fetch = ceil(case.pattern.m, case.port)
    wide = case.columns * case.interleave
    parts = dict.fromkeys(PARTS, 0)
    parts["activation_port"] = end = fetch
    drain = 0
    for fold in range(case.count * ceil(case.m, case.rows) * ceil(case.n, wide)):
        j = fold % ceil(case.n, wide)
        v = ceil(min(wide, case.n - j * wide), case.columns)
        p = max(v, case.adder)
        block = max(big_n * p, fetch)
        end += max(groups * block, drain)
        parts["drain"] += max(0, drain - groups * block)
        parts["issue"] += groups * big_n * v
        parts["interleave"] += groups * big_n * (p - v)
        parts["activation_port"] += groups * (block - big_n * p)
        drain = case.rows * v
    parts["drain"] += drain
    cycles = end + case.rows - 1 + case.columns - 1 + case.multiplier + case.adder - 1
    cycles += drain - 1 + case.accumulator
    parts["fill"] = cycles - end - drain
    assert sum(parts.values()) == cycles
    return parts


def check(case: Case) -> None:
    hardware = case.hardware()
    activations, weights = case.operands()
    expected = matmul(activations, weights)
    nan = np.isnan(expected)
    for number, dataflow in enumerate(DATAFLOWS):
        result = run(hardware, case.pattern, dataflow, case.interleave, activations, weights)
        assert result.parts == {"ws": ws_parts, "os": os_parts}[dataflow](case)
        assert result.cycles == sum(result.parts.values())
        assert min(result.parts.values()) >= 0
        assert result.uspe_cycles == result.cycles * case.rows * case.columns
        closed = array_cycles(
            hardware,
            number,
            case.interleave,
            case.pattern.n,
            case.pattern.m,
            case.count,
            case.m,
            case.taps,
            case.length,
            case.n,
        )
        assert closed.tolist() == [result.cycles, *result.parts.values()]
        # A NaN is a NaN; everything else agrees bit by bit, signs of zero too.
        np.testing.assert_array_equal(np.isnan(result.values), nan)
        np.testing.assert_array_equal(
            result.values[~nan].view(np.uint32), expected[~nan].view(np.uint32)
        )
        # Never quicker than one multiply-accumulate a USPE and cycle allows.
        macs = int(weights.kept.sum()) * case.count * case.m * case.n
        assert result.uspe_cycles >= macs


cases = st.builds(
    Case,
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    interleave=st.integers(1, 8),
    multiplier=st.integers(1, 4),
    adder=st.integers(1, 6),
    accumulator=st.integers(1, 4),
    port=st.integers(1, 8),
    pattern=st.sampled_from(PATTERNS),
    count=st.integers(1, 3),
    m=st.integers(1, 20),
    taps=st.integers(1, 3),
    length=st.integers(1, 30),
    n=st.integers(1, 30),
    special=st.sampled_from([0.0, 0.0, 0.02, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=1500)
@given(cases)
def test_every_small_job(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"{pattern.n}of{pattern.m}")
@pytest.mark.parametrize("interleave", range(1, 9))
def test_every_pattern_and_interleave(pattern: Pattern, interleave: int) -> None:
    check(Case(3, 4, interleave, 2, 4, 2, 2, pattern, 2, 11, 2, 13, 37, 0.01, interleave))


@pytest.mark.parametrize(("rows", "columns"), [(300, 1), (1, 300), (70, 90)])
def test_chains_longer_than_the_lines_that_hold_them(rows: int, columns: int) -> None:
    check(Case(rows, columns, 2, 1, 3, 2, 4, Pattern(2, 4), 1, 5, 1, 7, 611))


def test_loads_longer_than_folds() -> None:
    """Short folds: several are in the array at once, and weights are what all wait for."""
    check(Case(6, 6, 1, 3, 6, 4, 8, Pattern(4, 4), 2, 1, 1, 60, 40))


def test_drains_longer_than_folds() -> None:
    check(Case(6, 2, 8, 2, 2, 2, 8, Pattern(1, 8), 2, 20, 1, 8, 50))


def test_presets_give_the_same_values_in_both_dataflows() -> None:
    accelerator = load("sat-4x4")
    case = Case(4, 4, 8, 2, 4, 2, 8, Pattern(2, 8), 1, 40, 3, 20, 50, 0.01)
    activations, weights = case.operands()
    ws, os = (
        run(accelerator, case.pattern, dataflow, 8, activations, weights) for dataflow in DATAFLOWS
    )
    np.testing.assert_array_equal(ws.values, os.values)
    assert ws.stalls == {name: ws.parts[name] for name in PARTS[1:]}


ACTIVATIONS = np.zeros((1, 2, 1, 8), np.float16)
WEIGHTS = compress(np.zeros((1, 1, 8, 3), np.float16), Pattern(2, 8))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"pattern": Pattern(2, 4)},
            "weights are compressed 2:8, not 2:4",
        ),
        (
            {"pattern": Pattern(5, 8)},
            "accelerator 'sat-4x4' does not support pattern 5:8 (it has: 1:2, 1:4, 2:4, 1:8, 2:8, "
            "4:8, 1:16, 2:16, 4:16)",
        ),
        (
            {"pattern": Pattern(8, 8)},
            "pattern 8:8 needs 8 weight registers, and a USPE has 4",
        ),
        ({"dataflow": "is"}, "the array has no dataflow 'is' (it has: ws, os)"),
        ({"interleave": 0}, "interleave must be a whole number from 1 to 8, not 0"),
        ({"interleave": 9}, "interleave must be a whole number from 1 to 8, not 9"),
        (
            {"activations": ACTIVATIONS[..., :7]},
            "weights must be float16 [1, 1, 7, n] like the activations, "
            "not float16 [1] x (1 x 8) x 3",
        ),
        (
            {"activations": ACTIVATIONS[:0]},
            "activations must be float16 [count, m, taps, length], not float16 [0, 2, 1, 8]",
        ),
    ],
)
def test_jobs_that_cannot_be(changes: dict[str, Any], text: str) -> None:
    job: dict[str, Any] = {
        "hardware": load("sat-4x4"),
        "pattern": Pattern(2, 8),
        "dataflow": "ws",
        "interleave": 8,
        "activations": ACTIVATIONS,
        "weights": WEIGHTS,
    }
    with pytest.raises(InputError) as error:
        run(**(job | changes))
    assert str(error.value) == text


def test_a_dataflow_that_the_machine_lacks() -> None:
    accelerator = load("sat-4x4").with_values(**{"array.dataflows": ["os"]})
    with pytest.raises(InputError) as error:
        run(accelerator, Pattern(2, 8), "ws", 1, ACTIVATIONS, WEIGHTS)
    assert str(error.value) == "the array has no dataflow 'ws' (it has: os)"
