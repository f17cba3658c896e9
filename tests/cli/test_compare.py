"""`nofm compare`, on results that a model made."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from nofm.kernels import results_file
from nofm.kernels.pattern import Pattern
from nofm.simulator.processors import description, times
from nofm.simulator.processors.description import Calibration
from nofm.simulator.processors.prediction import Product

MACHINE = {"cpu": "made"}


def results(path: Path, sizes: range, device: str = "cpu") -> Path:
    """A results file of times that the preset gives when tiles take 1.5 times as long."""
    preset = description.load("epyc-milan")
    factors = preset.calibration
    sparse = factors.sparse | {"tiles": 1.5 * factors.sparse["tiles"]}
    slower = Calibration(source="made", dense=factors.dense, sparse=sparse)
    processor = preset.model_copy(update={"calibration": slower})
    rows = []
    for size in sizes:
        for pattern in ("2:4", "2:8", "1:8"):
            one = Product(m=size, k=2 * size, n=size + 8, pattern=Pattern.parse(pattern), sharing=4)
            dense, sparse = (f(processor, one).seconds for f in TIMES)
            rows.append(
                {
                    **{"m": one.m, "k": one.k, "n": one.n, "pattern": pattern, "mask_sharing": 4},
                    **{"dtype": "float32", "layout": "rows", "threads": 1, "kernel": "made"},
                    **{"dense_seconds": dense, "sparse_seconds": sparse},
                }
            )
    document = {"schema": "nofm.bench/1", "device": device, "machine": MACHINE, "results": rows}
    results_file.write(document, path)
    return path


TIMES = (times.dense_time, times.sparse_time)


def test_compare(nofm: Any, tmp_path: Path) -> None:
    path = results(tmp_path / "results.parquet", range(100, 900, 100))
    ran = nofm("compare", path, "--hardware", "epyc-milan", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document["schema"] == "nofm.compare/1"
    assert len(document["results"]) == 24
    first = document["results"][0]
    assert first["predicted_speedup"] == pytest.approx(
        first["predicted_dense_seconds"] / first["predicted_sparse_seconds"]
    )
    assert 0.1 < document["errors"]["speedup"]["mean_absolute"] < 0.6
    assert document["errors"]["dense_seconds"]["largest"] < 1e-9


def test_calibrated(nofm: Any, tmp_path: Path) -> None:
    path = results(tmp_path / "results.json", range(100, 900, 100))
    seen = results(tmp_path / "seen.json", range(150, 950, 100))
    folder = tmp_path / "out"
    ran = nofm("compare", path, "--hardware", "epyc-milan", "--calibrate", seen, "-o", folder)
    assert (ran.code, ran.err) == (0, "")
    assert "not calibrated" not in ran.out
    document = json.loads((folder / "compare.json").read_text("utf-8"))
    assert document["calibrated_with"] == "seen.json"
    assert document["errors"]["speedup"]["largest"] < 0.02
    with (folder / "compare.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 24
    assert (folder / "compare.png").stat().st_size > 10_000
    # The calibrated processor is one that can be named.
    again = nofm("compare", path, "--hardware", folder / "processor.toml", "--json")
    assert json.loads(again.out)["errors"] == document["errors"]


def test_what_the_fit_has_seen_is_said(nofm: Any, tmp_path: Path) -> None:
    path = results(tmp_path / "results.json", range(100, 300, 100))
    ran = nofm("compare", path, "--hardware", "epyc-milan", "--calibrate", path)
    assert "6 of the products were seen by the fit" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hardware", "epyc"), "unknown processor 'epyc'"),
        (("--hardware", "h200"), "was measured on device 'cpu', which h200 is not"),
        (("--hardware", "epyc-milan", "--calibrate", "none.json"), "cannot read none.json"),
    ],
)
def test_bad_input(nofm: Any, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    path = results(tmp_path / "results.json", range(100, 200, 100))
    ran = nofm("compare", path, *options, "-o", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
