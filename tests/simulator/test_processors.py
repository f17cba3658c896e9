"""Predictions for real processors: laws of the models, their calibration, and what errors mean."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from nofm.kernels import results_file
from nofm.kernels.arm import spmm as arm
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.kernels.spmm import PANEL_BYTES, VECTORS
from nofm.simulator.processors import comparison, description, times
from nofm.simulator.processors.calibration import calibrate
from nofm.simulator.processors.description import Calibration, Cpu, Gpu
from nofm.simulator.processors.prediction import Product

RESULTS = Path(__file__).parents[2] / "kernels" / "results"
PATTERNS = [Pattern(2, 4), Pattern(2, 8), Pattern(1, 8), Pattern(3, 7)]


def product(rng: np.random.Generator, **fixed: Any) -> Product:
    sizes = {name: int(2 ** rng.uniform(0, 13)) for name in ("m", "k", "n")}
    drawn = {
        "pattern": PATTERNS[rng.integers(len(PATTERNS))],
        "sharing": int(rng.choice([1, 2, 4, 8, 32])),
        "dtype": str(rng.choice(["float32", "float16"])),
        "threads": int(rng.integers(1, 3)),
    }
    return Product(**sizes | drawn | fixed)


def row(one: Product, dense: float, sparse: float) -> dict[str, Any]:
    return {
        "m": one.m,
        "k": one.k,
        "n": one.n,
        "pattern": str(one.pattern),
        "mask_sharing": one.sharing,
        "dtype": one.dtype,
        "layout": one.layout,
        "threads": one.threads,
        "kernel": "a kernel",
        "dense_seconds": dense,
        "sparse_seconds": sparse,
    }


def preset_cpu() -> Cpu:
    found = description.load("epyc-milan")
    assert isinstance(found, Cpu)
    return found.model_copy(update={"calibration": Calibration()})


def preset_gpu(name: str = "h100") -> Gpu:
    found = description.load(name)
    assert isinstance(found, Gpu)
    return found.model_copy(update={"calibration": Calibration()})


@pytest.mark.parametrize(
    ("name", "tiles", "lanes"),
    [("epyc-milan", VECTORS, 8), ("neoverse-n1", arm.VECTORS, arm.LANES)],
)
def test_models_have_the_kernels_tiles(name: str, tiles: dict[int, int], lanes: int) -> None:
    found = description.load(name)
    assert isinstance(found, Cpu)
    assert {tile.rows: tile.vectors for tile in found.tiles} == tiles
    assert found.panel_kib * 1024 == PANEL_BYTES
    assert found.lanes == lanes


@pytest.mark.parametrize("name", description.presets())
def test_more_work_takes_no_less_time(name: str) -> None:
    """More samples, a longer reduction, more outputs or more kept weights are never quicker."""
    rng, processor = np.random.default_rng(1), description.load(name)
    for _ in range(300):
        one = product(rng, sharing=1, threads=1)
        before = times.sparse_time(processor, one).seconds, times.dense_time(processor, one).seconds
        for larger in (
            replace(one, m=2 * one.m),
            replace(one, k=2 * one.k),
            replace(one, n=2 * one.n),
        ):
            after = (
                times.sparse_time(processor, larger).seconds,
                times.dense_time(processor, larger).seconds,
            )
            assert after[0] >= before[0]
            assert after[1] >= before[1]
        if one.pattern.n * 2 <= one.pattern.m and isinstance(processor, Cpu):
            twice = replace(one, pattern=Pattern(2 * one.pattern.n, one.pattern.m))
            assert times.sparse_time(processor, twice).seconds >= before[0]


def test_a_large_cpu_product_comes_near_what_the_ports_allow() -> None:
    """4 rows x 3 vectors: 12 multiply-adds take 6 cycles and 7 loads fewer, so the speedup goes to
    M/N; masks of one row need 9 loads for 8 multiply-adds, and stay below it."""
    for pattern in PATTERNS[:3]:
        one = Product(m=2**14, k=2**14, n=2**14, pattern=pattern, sharing=4)
        speedup = (
            times.dense_time(preset_cpu(), one).seconds
            / times.sparse_time(preset_cpu(), one).seconds
        )
        ideal = pattern.m / pattern.n
        assert 0.8 * ideal < speedup <= ideal
        alone = replace(one, sharing=1)
        slower = (
            times.dense_time(preset_cpu(), one).seconds
            / times.sparse_time(preset_cpu(), alone).seconds
        )
        assert slower < 0.9 * speedup


def test_one_tile_more_than_multiprocessors_is_another_wave() -> None:
    changes = {"tiles": (description.GpuTile(m=128, n=128, k=64),), "cluster": 1}
    changes |= {"memory_gbps": 1e9, "l2_gbps": 1e9}
    machine = preset_gpu().model_copy(update=changes)
    full = Product(
        m=128 * machine.multiprocessors, k=8192, n=128, pattern=Pattern(2, 4), dtype="float16"
    )
    launch = machine.launch_us * 1e-6
    one, more = (
        times.sparse_time(machine, p).seconds - launch for p in (full, replace(full, m=full.m + 1))
    )
    assert more == pytest.approx(2 * one)
    cycles = ceil(8192 / 64) * 128 * 128 * 64 / (2 * machine.fma_per_cycle)
    assert one == pytest.approx((cycles + machine.prologue_cycles) / machine.clock_mhz / 1e6)


def test_sparse_tensor_cores_gain_at_most_two_and_little_on_small_products() -> None:
    rng, machine = np.random.default_rng(2), preset_gpu()
    for _ in range(300):
        one = product(rng, pattern=Pattern(2, 4), dtype="float16", threads=1)
        speedup = times.dense_time(machine, one).seconds / times.sparse_time(machine, one).seconds
        assert speedup <= 2
    small = Product(m=64, k=64, n=64, pattern=Pattern(2, 4), dtype="float16")
    large = Product(m=16384, k=16384, n=16384, pattern=Pattern(2, 4), dtype="float16")
    gains = [
        times.dense_time(machine, one).seconds / times.sparse_time(machine, one).seconds
        for one in (small, large)
    ]
    assert gains[0] < 1.1 < gains[1]


def test_other_patterns_gain_on_a_gpu_only_where_many_outputs_share_a_mask() -> None:
    machine = preset_gpu("a100")
    one = Product(m=8192, k=8192, n=8192, pattern=Pattern(1, 8), dtype="float16", sharing=1)
    dense = times.dense_time(machine, one).seconds
    assert dense / times.sparse_time(machine, one).seconds == pytest.approx(1, rel=0.02)
    assert dense / times.sparse_time(machine, replace(one, sharing=32)).seconds > 4
    everything = replace(one, pattern=DENSE, sharing=32)
    assert times.sparse_time(machine, everything).seconds >= dense * 0.999


@pytest.mark.parametrize("name", ["epyc-milan", "h100"])
def test_calibration_finds_the_factors_that_made_the_times(name: str) -> None:
    rng, processor = np.random.default_rng(3), description.load(name)
    plain = processor.model_copy(update={"calibration": Calibration()})
    given = [product(rng) for _ in range(200)]
    terms = [(times.dense_time(plain, p).terms, times.sparse_time(plain, p).terms) for p in given]
    names = [sorted({term for own in part for term in own}) for part in zip(*terms, strict=True)]
    wanted = Calibration(
        source="made",
        dense={term: float(f"{rng.uniform(0.2, 3):.3g}") for term in names[0]},
        sparse={term: float(f"{rng.uniform(0.2, 3):.3g}") for term in names[1]},
    )
    made = processor.model_copy(update={"calibration": wanted})
    rows = [
        row(p, times.dense_time(made, p).seconds, times.sparse_time(made, p).seconds) for p in given
    ]
    found = calibrate(processor, rows, "made")
    kept_out = [product(rng) for _ in range(100)]
    for p in kept_out:
        assert times.dense_time(found, p).seconds == pytest.approx(
            times.dense_time(made, p).seconds, rel=0.02
        )
        assert times.sparse_time(found, p).seconds == pytest.approx(
            times.sparse_time(made, p).seconds, rel=0.02
        )
    assert description.from_toml(description.to_toml(found), "again") == found


def test_factors_are_never_negative() -> None:
    """Of times that only a negative factor could explain."""
    rng = np.random.default_rng(4)
    given = [product(rng) for _ in range(50)]
    rows = [row(p, float(rng.lognormal(-8)), float(rng.lognormal(-8))) for p in given]
    found = calibrate(description.load("epyc-milan"), rows, "noise").calibration
    assert min([*found.dense.values(), *found.sparse.values()]) >= 0


def measured(name: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = results_file.read(RESULTS / f"{name}.json")["results"]
    return results


def test_the_preset_has_the_factors_of_its_results() -> None:
    stored = description.load("epyc-milan")
    rows = measured("epyc-calibration")
    again = calibrate(stored, rows, "kernels/results/epyc-calibration.json")
    for part in ("dense", "sparse"):
        own, other = getattr(stored.calibration, part), getattr(again.calibration, part)
        assert own == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_products_that_the_fit_has_not_seen() -> None:
    """The goal of a calibrated model: speedups within 10 % on average."""
    rows = measured("epyc-check")
    seen = {(row["m"], row["k"], row["n"]) for row in measured("epyc-calibration")}
    assert not any((row["m"], row["k"], row["n"]) in seen for row in rows)
    found = comparison.compare(description.load("epyc-milan"), rows)["errors"]["speedup"]
    assert found["mean_absolute"] < 0.1
    assert found["rank_correlation"] > 0.95


def test_errors_are_what_they_say() -> None:
    rng = np.random.default_rng(5)
    rows = [
        {"speedup": float(m), "predicted_speedup": float(p)}
        for m, p in zip(rng.integers(1, 9, 40), rng.integers(1, 9, 40), strict=True)
    ]
    found = comparison.errors(rows, "speedup")
    off = [abs(one["predicted_speedup"] / one["speedup"] - 1) for one in rows]
    assert found["mean_absolute"] == pytest.approx(np.mean(off))
    assert found["largest"] == pytest.approx(max(off))
    expected = spearmanr(
        [one["speedup"] for one in rows], [one["predicted_speedup"] for one in rows]
    ).statistic
    assert found["rank_correlation"] == pytest.approx(expected)
    same = [{"speedup": 2.0, "predicted_speedup": 3.0}] * 3
    assert comparison.errors(same, "speedup")["rank_correlation"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("clock_mhz = 3418.0", "clock_mhz = 0"),
            r"cpu\.clock_mhz: input should be greater than 0",
        ),
        (("lanes = 8", "lanse = 8"), "cpu.lanes: field required"),
        (("rows = 1\n", "rows = 3\n"), "tiles must have one of 1 row"),
        (('kind = "cpu"', 'kind = "tpu"'), "input tag 'tpu' found"),
        (("lanes = 8", "lanes = ["), "is not valid TOML"),
    ],
)
def test_wrong_descriptions(change: tuple[str, str], message: str) -> None:
    text = description._files()["epyc-milan"].read_text("utf-8")
    assert change[0] in text
    with pytest.raises(InputError, match=message):
        description.from_toml(text.replace(*change), "mine.toml")


def test_unknown_processor() -> None:
    with pytest.raises(InputError, match="unknown processor 'h20': did you mean h200 or h100"):
        description.load("h20")


def test_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="no measured results"):
        comparison.compare(preset_cpu(), [])
    with pytest.raises(InputError, match="calibration needs measured results"):
        calibrate(preset_cpu(), [], "")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), "1", None])
def test_what_is_no_measured_time(seconds: Any) -> None:
    one = Product(m=8, k=8, n=8, pattern=Pattern(2, 4))
    for rows in ([row(one, seconds, 1.0)], [row(one, 1.0, seconds)]):
        with pytest.raises(InputError, match="a measured time must be a finite number above 0"):
            comparison.compare(preset_cpu(), rows)
        with pytest.raises(InputError, match="a measured time must be a finite number above 0"):
            calibrate(preset_cpu(), rows, "")
