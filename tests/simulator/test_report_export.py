from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.simulator.report import export, figures
from nofm.simulator.result import ENERGIES, STALLS, TENSORS, StepResult

DATA = ["csv", "json", "parquet", "timeline", "toml"]
"""Formats that need no figure."""


def test_the_document_has_its_fields(step: StepResult) -> None:
    document = export.to_json(step)
    assert list(document) == [
        *("schema", "workload", "batch", "method", "pattern", "optimizations", "hardware"),
        *("total", "layers", "notes"),
    ]
    assert document["schema"] == "nofm.step/1"
    assert document["hardware"]["array"]["patterns"][:2] == ["1:2", "1:4"]
    assert set(document["total"]) >= {
        "cycles",
        "dense_cycles",
        "speedup",
        "energy_pj",
        "dram_bytes",
    }
    for job in document["layers"]:
        assert set(job) >= {
            *("layer", "stage", "m", "k", "n", "pattern", "dataflow", "cycles", "compute_cycles"),
            *("stall_cycles", "utilization", "dram_bytes", "energy_pj", "tile", "speedup"),
        }
        assert set(job["stalls"]) == set(STALLS)
        assert set(job["dram_bytes_by_tensor"]) == set(TENSORS)
        assert set(job["energy_pj_by_part"]) == set(ENERGIES)


def test_the_document_is_plain_and_finite(step: StepResult) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert type(value) in (str, int, float, bool)

    document = export.to_json(step)
    check(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_every_sum_is_that_of_its_parts(step: StepResult) -> None:
    document = export.to_json(step)
    total, jobs = document["total"], document["layers"]
    for name in ("cycles", "compute_cycles", "stall_cycles", "macs", "dram_bytes"):
        assert total[name] == sum(job[name] for job in jobs)
    assert total["energy_pj"] == pytest.approx(sum(job["energy_pj"] for job in jobs))
    for job in jobs:
        assert job["cycles"] == job["compute_cycles"] + job["stall_cycles"]
        assert job["stall_cycles"] == sum(job["stalls"].values())
        assert job["dram_bytes"] == sum(job["dram_bytes_by_tensor"].values())
        assert job["energy_pj"] == pytest.approx(sum(job["energy_pj_by_part"].values()))
    for cause in STALLS:
        assert total[f"stall_{cause}_cycles"] == sum(job["stalls"][cause] for job in jobs)


def test_hardware_reads_back(step: StepResult, tmp_path: Path) -> None:
    export.write(step, tmp_path / "out", ["toml"])
    assert load(tmp_path / "out" / "hardware.toml") == step.accelerator


def test_csv_and_parquet_read_back_as_they_were(step: StepResult, tmp_path: Path) -> None:
    export.write(step, tmp_path / "out", ["csv", "parquet"])
    parquet = pd.read_parquet(tmp_path / "out" / "layers.parquet")
    pd.testing.assert_frame_equal(parquet, step.layers, check_exact=True)
    text = io.StringIO((tmp_path / "out" / "layers.csv").read_text())
    csv = pd.read_csv(text, keep_default_na=False, engine="python")
    pd.testing.assert_frame_equal(csv, step.layers, check_exact=True)


def test_all_formats_write_the_documented_files(step: StepResult, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    total = {"cycles": 100, "dense_cycles": 150}
    paths = export.write(step, folder, ablation=[("all", step), ("without", total)])
    drawn = [
        f"{name}.{form}"
        for form in ("png", "svg")
        for name in ("ablation", "cycles", "roofline", "speedup")
    ]
    assert sorted(path.name for path in paths) == sorted(
        [
            *drawn,
            "hardware.toml",
            "layers.csv",
            "layers.parquet",
            "report.html",
            "step.json",
            "timeline.json",
        ]
    )
    assert sorted(folder.iterdir()) == sorted(paths)
    assert all(path.stat().st_size for path in paths)
    assert folder.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777
    assert json.loads((folder / "step.json").read_text()) == export.to_json(step)


def test_files_are_the_same_every_time(make_step, tmp_path: Path) -> None:
    step = make_step(4)
    first = export.write(step, tmp_path / "a")
    second = export.write(step, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize("name", list(export.FORMATS))
def test_each_format_works_alone(make_step, tmp_path: Path, name: str) -> None:
    assert export.write(make_step(3), tmp_path / "out", [name, name])


def test_an_unknown_format_is_refused_before_anything_is_written(
    step: StepResult, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        export.write(step, tmp_path / "out", ["csv", "pngs"])
    assert str(caught.value) == (
        "unknown format 'pngs': did you mean png? "
        "(known: csv, parquet, json, toml, png, svg, timeline, html)"
    )
    assert not list(tmp_path.iterdir())


def test_a_figure_that_fails_leaves_nothing_behind(
    step: StepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "render", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        export.write(step, tmp_path / "a" / "out")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_folders_place_is_refused(step: StepResult, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for folder in ("out", "out/below/further"):
        with pytest.raises(InputError) as caught:
            export.write(step, tmp_path / folder, DATA)
        assert (
            str(caught.value)
            == f"cannot write to {tmp_path / folder}: {tmp_path / 'out'} is not a folder"
        )
    assert (tmp_path / "out").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_in_a_files_place_is_refused(step: StepResult, tmp_path: Path) -> None:
    (tmp_path / "step.json").mkdir()
    with pytest.raises(InputError) as caught:
        export.write(step, tmp_path, DATA)
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'step.json'}: it is a folder, not a file"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["step.json"]


def test_a_place_that_takes_no_files_is_refused(step: StepResult) -> None:
    with pytest.raises(InputError) as caught:
        export.write(step, "/proc/nofm", DATA)
    assert str(caught.value) == "cannot write to /proc/nofm: No such file or directory"
