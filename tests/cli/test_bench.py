"""`nofm bench` on products too small to be timed: its document, its files, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofm import benchmark
from nofm.kernels import measure, measure_cpu, peaks, results_file
from nofm.kernels.arm import build, counted
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "peak_flops", lambda: 1e9)
    monkeypatch.setattr(peaks, "load_bandwidth", lambda size: 1e9)


def test_a_product(nofm: Run, tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    words = "bench --gemm 16x32x12 --pattern 2:4 --pattern 1:8 --sharing 4 --sharing 8"
    done = nofm(*words.split(), "--seconds", "0.001", "--json", "-o", str(path))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["schema"] == "nofm.bench/1"
    assert document == results_file.read(path)
    found = [(row["pattern"], row["mask_sharing"]) for row in document["results"]]
    assert found == [("2:4", 4), ("2:4", 8), ("1:8", 4), ("1:8", 8)]
    for row in document["results"]:
        assert (row["m"], row["k"], row["n"]) == (16, 32, 12)
        assert row["speedup"] == row["dense_seconds"] / row["sparse_seconds"]
        assert 0 <= row["max_error"] <= row["error_bound"]
    table = nofm(*words.split(), "--seconds", "0.001")
    assert "16 x 32 x 12" in table.out


def test_a_wrong_result_fails(nofm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = measure_cpu.matmul

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = right(*arguments, **named)
        found[0, 0] += 1
        return found

    monkeypatch.setattr(measure_cpu, "matmul", wrong)
    done = nofm("bench", "--gemm", "16x32x12", "--pattern", "2:4", "--seconds", "0.001", "--json")
    assert done.code == 1
    assert "is above its bound" in json.loads(done.out)["notes"][-1]


def test_a_csv_suite(tmp_path: Path) -> None:
    path = tmp_path / "mnk.csv"
    path.write_text("m, n, k, name\n4,8,16,x\n1,2,3,y\n")
    shapes = benchmark.shapes_of_suite(str(path), 1)
    assert shapes == [(4, 1, 16, 8, "ff", ()), (1, 1, 3, 2, "ff", ())]


def test_a_network_is_a_suite() -> None:
    shapes = benchmark.shapes_of_suite("resnet50", 2)
    # The stem is not pruned; the first layer of the first block is.
    assert (2 * 56 * 56, 1, 64, 64, "ff", ("stages.0.0.branch.0",)) in shapes
    assert all(stage in ("ff", "bp") for *_, stage, _ in shapes)
    assert {taps for _, taps, *_ in shapes} >= {1, 9}
    assert len({shape[:5] for shape in shapes}) == len(shapes)
    for name, network in benchmark.SUITES.items():
        assert benchmark.shapes_of_suite(name, 1) == benchmark.shapes_of_suite(network, 1)


def test_a_suite_counts_its_layers() -> None:
    document = benchmark.bench(
        [(4, 1, 16, 8, "bp", ("a", "b"))], [Pattern(2, 4)], [4], seconds=1e-3
    )
    (row,) = document["results"]
    assert (row["stage"], row["layers"], row["layer"]) == ("bp", 2, "a")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "a --gemm or a --suite is needed, not neither"),
        (
            "--gemm 1x2",
            "a gemm must look like 4096x1152x256 (M x K x N), not '1x2'",
        ),
        ("--gemm 1x2x3 --pattern 8:4", "pattern 8:4: N must be from 1 to M = 4, not 8"),
        (
            "--gemm 1x2x3 --sharing 0",
            "sharing must be a whole number from 1 to 1024, not 0",
        ),
        (
            "--gemm 1x2x3 --device gpu",
            "unknown device 'gpu': did you mean cpu? (known: cpu, arm, cuda)",
        ),
        (
            "--gemm 1x2x3 --dtype int8",
            "dtype must be float32 or float16 and layout rows or columns, not int8 and rows",
        ),
        ("--gemm 1x2x3 --seconds 0", "--seconds must be above 0 and at most 3600, not 0"),
        (
            "--gemm 1x2x3 -o r.txt",
            "a results file's name ends in .json or .parquet, not 'r.txt'",
        ),
        ("--gemm 1x2x3 -o no/r.json", "cannot write no/r.json: no is not a folder"),
        ("--suite no.csv", "cannot read no.csv: No such file or directory"),
        (
            "--gemm 1x20000000x3",
            "gemm: length must be a whole number from 1 to 16777216, not 20000000",
        ),
    ],
)
def test_bad_input(nofm: Run, words: str, text: str) -> None:
    done = nofm("bench", *words.split())
    assert (done.code, done.out, done.err.strip()) == (2, "", f"nofm: {text}")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a,b\n1,2\n", "{path} must have the columns m, n and k, not ['a', 'b']"),
        ("m,n,k\n", "{path} lists no products"),
        ("m,n,k\n1,2\n", "{path}, line 2: k must be a whole number from 1 to 16777216, not ''"),
        (
            "m,n,k\n1,-2,3\n",
            "{path}, line 2: n must be a whole number from 1 to 16777216, not '-2'",
        ),
    ],
)
def test_a_bad_csv(nofm: Run, content: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "mnk.csv"
    path.write_text(content)
    done = nofm("bench", "--suite", str(path))
    assert (done.code, done.err.strip()) == (2, "nofm: " + text.format(path=path))


@pytest.mark.skipif(build.native(), reason="an ARM machine measures")
def test_arm_is_counted_where_there_is_none(nofm: Run, tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    words = "bench --device arm --gemm 20x32x12 --pattern 2:4 --pattern 1:8 --dtype float16"
    done = nofm(*words.split(), "--json", "-o", str(path))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["schema"], document["estimated"]) == ("nofm.bench-estimate/1", True)
    assert document == results_file.read(path, results_file.ESTIMATED)
    with pytest.raises(InputError, match="holds no measured results"):
        results_file.read(path)
    for row, kept in zip(document["results"], (16, 4), strict=True):
        assert not any("seconds" in name for name in row)
        assert row["fma_instructions"] == 20 * kept * 12 // 4
        assert row["instruction_ratio"] == row["dense_instructions"] / row["instructions"]
        assert 0 < row["max_error"] <= row["error_bound"]
        if document["cores"]:
            assert list(row["estimated_cycles"]) == document["cores"]
    table = nofm(*words.split())
    assert "20 x 32 x 12" in table.out
    assert "nothing is timed" in table.out


@pytest.mark.skipif(build.native(), reason="an ARM machine measures")
def test_a_wrong_result_of_arm_fails(nofm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = counted.matmul

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = right(*arguments, **named)
        found[0, 0] += 1
        return found

    monkeypatch.setattr(counted, "matmul", wrong)
    done = nofm("bench", "--device", "arm", "--gemm", "8x8x4", "--pattern", "2:4", "--json")
    assert done.code == 1
    assert "is above its bound" in json.loads(done.out)["notes"][-1]


@pytest.mark.skipif(build.native(), reason="an ARM machine measures")
def test_one_emulated_thread() -> None:
    with pytest.raises(InputError) as error:
        benchmark.bench([(4, 1, 16, 8, "ff", ())], [Pattern(2, 4)], [4], on="arm", threads=2)
    assert str(error.value) == "threads must be 1 where ARM is emulated, not 2"


@pytest.mark.skipif(build.native(), reason="an ARM machine measures")
def test_arm_is_not_measured_elsewhere() -> None:
    with pytest.raises(InputError) as error:
        measure.kernels("arm")
    text = "device 'arm' is skipped: its seconds are measured on Linux on AArch64 alone"
    assert str(error.value) == text
