"""What a measurement says, on products too small to be timed; and the file that keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.kernels import machine, measure, peaks, results_file
from nofm.kernels.compressed import decompress
from nofm.kernels.errors import InputError
from nofm.kernels.measure import Case, Operands
from nofm.kernels.measure_cpu import Cpu
from nofm.kernels.pattern import Pattern


class Clockwork:
    """A device whose products take times that are known."""

    kernel = "clockwork"

    def __init__(self, wrong: float = 0.0) -> None:
        self.wrong, self.calls = wrong, []

    def missing(self) -> str | None:
        return None

    def takes(self, case: Case) -> bool:
        return True

    @contextmanager
    def limits(self, threads: int) -> Iterator[None]:
        yield

    def dense(self, case: Case, operands: Operands) -> dict[str, Any]:
        return {"slow": lambda: 8.0, "quick": lambda: 6.0}

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Any, float, int]:
        exact = operands.a @ decompress(operands.weights).reshape(case.k, case.n)
        return lambda: exact + np.float32(self.wrong), 1e-6, 77

    def fetch(self, case: Case, result: Any) -> Any:
        return result

    def seconds(self, run: Any, threads: int) -> float:
        found = run()
        took = found if isinstance(found, float) else 2.0
        self.calls.append(took)
        return took

    def describe(self) -> dict[str, Any]:
        return {}


CASE = Case(m=6, taps=2, length=9, n=5, pattern=Pattern(2, 4), sharing=2, layers=("a", "b"))


def run(monkeypatch: pytest.MonkeyPatch, wrong: float = 0.0) -> tuple[measure.Result, Clockwork]:
    fake = Clockwork(wrong)
    monkeypatch.setattr(measure, "_devices", lambda: {"clockwork": (fake,)})
    (found,) = measure.measure([CASE], "clockwork", seconds=40)
    return found, fake


def test_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    found, fake = run(monkeypatch)
    assert (found.dense_kernel, found.dense_seconds, found.sparse_seconds) == ("quick", 6.0, 2.0)
    assert found.speedup == found.speedup_low == found.speedup_high == 3.0
    assert (found.m, found.k, found.n, found.mask_sharing, found.layers) == (6, 18, 5, 2, 2)
    # Nine rows keep 2 of 4, 2 of 4 and the last one.
    assert found.ideal == 18 / 10
    assert found.dense_gflops == 2 * 6 * 18 * 5 / 6 / 1e9
    assert found.sparse_gflops == 2 * 6 * 10 * 5 / 2 / 1e9
    assert (found.value_bytes, found.index_bytes) == (10 * 5 * 4, -(-10 * 3 * 2 // 8))
    assert found.checked_rows == 6
    assert found.correct
    # In turns, after both are warm.
    assert found.pairs == 5
    assert fake.calls[-10:] == [6.0, 2.0] * 5


def test_short_calls_are_timed_together() -> None:
    """So many that they take half a millisecond, whatever steps the clock moves in."""
    calls = []

    class Coarse(Clockwork):
        def seconds(self, run: Any, threads: int) -> float:
            before = len(calls)
            run()
            return 20e-6 * (len(calls) - before)

    def product() -> None:
        calls.append(1)

    assert measure._calls(20e-6) == 25
    assert measure._calls(0.0) == 500
    assert measure._calls(1.0) == 1
    assert measure._seconds(Coarse(), product, 1, 25) == pytest.approx(20e-6)
    assert len(calls) == 25


def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = run(monkeypatch, wrong=1e-3)
    assert not found.correct


def test_of_a_large_product_some_samples_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CHECKED", 18 * 5 * 2)
    found, _ = run(monkeypatch)
    assert found.checked_rows == 2


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_processor(layout: str, dtype: str) -> None:
    case = Case(m=12, length=16, n=8, pattern=Pattern(2, 4), sharing=4, dtype=dtype, layout=layout)
    cpu = Cpu()
    with cpu.limits(1):
        (found,) = measure.measure([case], seconds=1e-3)
        operands = measure.operands(case, 1)
        expected = np.asarray(operands.dense, np.float32)
        a = np.asarray(operands.a, np.float32)
        product = a @ expected if layout == "rows" else expected.T @ a
        for name, dense in cpu.dense(case, operands).items():
            result = np.asarray(dense())
            result = result.T if name == "scipy" else result
            np.testing.assert_allclose(result, product, rtol=1e-4, atol=1e-4, err_msg=name)
    assert found.correct
    assert found.max_error > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="its system has no such call")
def test_the_machine_is_left_as_it_was() -> None:
    before = os.sched_getaffinity(0)
    with machine.pinned(1) as chosen:
        assert len(chosen) == 1
        assert os.sched_getaffinity(0) == set(chosen)
    assert os.sched_getaffinity(0) == before


def test_peaks_are_those_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e8 < peaks.peak_flops(seconds=0) < 1e13
    assert 1e8 < peaks.load_bandwidth(16 << 10, seconds=0) < 1e13
    description = machine.describe()
    json.dumps(description, allow_nan=False)
    assert description["libraries"]["numpy"] == np.__version__


@pytest.mark.parametrize("name", ["r.json", "r.parquet"])
def test_a_results_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = run(monkeypatch)
    document = {
        "schema": "nofm.bench/1",
        "machine": {"cpu": "x"},
        "results": measure.rows([found]),
        "notes": [],
    }
    results_file.write(document, tmp_path / name)
    assert results_file.read(tmp_path / name) == document
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("none.json", None, "cannot read {path}: No such file or directory"),
        ("a.json", "[]", "{path} holds no measured results (nofm.bench/1)"),
        ("a.json", "{", "{path} holds no measured results (nofm.bench/1)"),
        ("a.json", '{"schema": "nofm.step/1"}', "{path} holds no measured results (nofm.bench/1)"),
        ("a.parquet", "PAR", "{path} holds no measured results (nofm.bench/1)"),
    ],
)
def test_what_is_no_results_file(name: str, text: str | None, error: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as found:
        results_file.read(path)
    assert str(found.value) == error.format(path=path)
