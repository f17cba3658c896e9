"""A sweep: the same result however it was come by, and a folder that loses nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nofm.explore import explore_space, store
from nofm.explore import results as results_module
from nofm.explore import workers as workers_module
from nofm.explore.evaluate import schema
from nofm.explore.read import read
from nofm.explore.run import Exploration
from nofm.explore.workers import LocalWorkers
from nofm.kernels.errors import InputError

Make = Callable[..., dict[str, Any]]
Path_ = Callable[..., Path]


def content(folder: Path) -> dict[str, bytes]:
    """Every file that a sweep leaves, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(small: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exploration, Path]:
    """An undisturbed sweep."""
    folder = tmp_path_factory.mktemp("whole") / "deep" / "out"
    return explore_space(small(), folder), folder


def test_the_result(whole: tuple[Exploration, Path], small: Make) -> None:
    found, folder = whole
    space = read(small())
    table = found.table
    assert table["design"].tolist() == list(range(24))
    assert list(table.columns) == [*schema(space).names, "pareto"]
    fine = table[table["feasible"]]
    assert 0 < len(fine) < 24
    assert (table["error"] == "").tolist() == table["feasible"].tolist()
    for _, row in table.iterrows():
        better = fine[
            (fine["seconds"] <= row["seconds"])
            & (fine["peak_macs_per_cycle"] <= row["peak_macs_per_cycle"])
            & (
                (fine["seconds"] < row["seconds"])
                | (fine["peak_macs_per_cycle"] < row["peak_macs_per_cycle"])
            )
        ]
        assert row["pareto"] == (row["feasible"] and better.empty)
    assert (
        found.front["design"].tolist()
        == (
            table[table["pareto"]].sort_values(["seconds", "peak_macs_per_cycle", "design"])[
                "design"
            ]
        ).tolist()
    )
    assert len(found.front) > 1
    assert sorted(content(folder)) == [
        ".lock",
        "front.csv",
        *(f"parts/{number:08d}.parquet" for number in range(5)),
        "results.parquet",
        "space.toml",
    ]
    csv = pd.read_csv(folder / "front.csv", keep_default_na=False)
    assert csv["design"].tolist() == found.front["design"].tolist()
    assert csv["seconds"].tolist() == found.front["seconds"].tolist()
    assert read(folder / "space.toml").digest == space.digest


def test_what_breaks_a_constraint_beats_nothing(small: Make) -> None:
    least = {"peak_macs_per_cycle": {"min": 200}}
    table = explore_space(small(constraints=least)).table
    broken = table[(table["error"] == "") & ~table["feasible"]]
    assert (broken["peak_macs_per_cycle"] == 128).all()
    assert len(broken) == 4
    # The narrowest array that is wide enough is in the front: the narrower ones do not count.
    best = table[table["pareto"]]
    assert best["peak_macs_per_cycle"].min() == 256


def test_the_document(whole: tuple[Exploration, Path]) -> None:
    found, _ = whole
    document, table = found.document, found.table
    assert document["designs"] == document["evaluated"] == 24
    assert document["feasible"] == table["feasible"].sum()
    assert document["failed"] == (table["error"] != "").sum()
    assert sum(entry["designs"] for entry in document["errors"]) == document["failed"]
    counts = [entry["designs"] for entry in document["errors"]]
    assert counts == sorted(counts, reverse=True)
    assert [row["design"] for row in document["front"]] == found.front["design"].tolist()


def test_again_changes_nothing(whole: tuple[Exploration, Path], small: Make) -> None:
    _, folder = whole
    before = content(folder)
    parts = folder / "parts"
    times = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    explore_space(small(), folder)
    assert content(folder) == before
    assert {path: path.stat().st_mtime_ns for path in parts.iterdir()} == times


def test_progress_is_told(whole: tuple[Exploration, Path], small: Make) -> None:
    found, folder = whole
    told: list[tuple[int, int, int]] = []
    explore_space(small(), progress=lambda *now: told.append(now))
    assert [done for done, _, _ in told] == [0, 5, 10, 15, 20, 24]
    assert {total for _, total, _ in told} == {24}
    assert told[-1][2] == len(found.front)
    again: list[tuple[int, int, int]] = []
    explore_space(small(), folder, progress=lambda *now: again.append(now))
    assert again == [told[-1]]


def test_without_a_folder(small: Make, whole: tuple[Exploration, Path]) -> None:
    found = explore_space(small())
    pd.testing.assert_frame_equal(found.table, whole[0].table)
    assert found.document == whole[0].document
    folder = found.folder
    assert folder.is_dir()
    del found
    assert not folder.exists()


@pytest.mark.parametrize("part", [1, 7, 24, 100])
def test_parts_and_key_order_do_not_matter(
    small: Make, whole: tuple[Exploration, Path], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "ROWS", 10)
    document = small(search={"part": part})
    document["parameters"] = dict(reversed(document["parameters"].items()))
    found = explore_space(dict(reversed(document.items())))
    pd.testing.assert_frame_equal(found.table, whole[0].table)
    assert pq.ParquetFile(found.folder / "results.parquet").num_row_groups == 3


def test_workers_give_the_same_bytes(
    small: Make, whole: tuple[Exploration, Path], tmp_path: Path
) -> None:
    explore_space(small(), tmp_path / "out", workers=2)
    assert content(tmp_path / "out") == content(whole[1])


@pytest.mark.parametrize("missing", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("unfinished", [True, False])
def test_goes_on_from_any_parts(
    small: Make,
    whole: tuple[Exploration, Path],
    tmp_path: Path,
    missing: list[int],
    unfinished: bool,
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole[1], folder)
    for number in missing:
        (folder / f"parts/{number:08d}.parquet").unlink()
    if unfinished:
        (folder / "results.parquet").unlink()
        (folder / "front.csv").unlink()
        (folder / "parts/00000002.parquet.new").write_bytes(b"half")
        (folder / "results.parquet.new").write_bytes(b"half")
    explore_space(small(), folder)
    assert content(folder) == content(whole[1])


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flip", "other"])
def test_damaged_parts_are_done_again(
    small: Make, whole: tuple[Exploration, Path], tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole[1], folder)
    part = folder / "parts/00000001.parquet"
    data = bytearray(part.read_bytes())
    if damage == "flip":
        data[len(data) // 4] ^= 1
    changed = {"cut": data[:-9], "empty": b"", "text": b"not a table", "flip": bytes(data)}
    if damage == "other":  # of another space
        other = small(parameters={"array.rows": [4, 8, 16, 32, 64]})
        explore_space(other, tmp_path / "other")
        changed["other"] = (tmp_path / "other/parts/00000000.parquet").read_bytes()
    part.write_bytes(changed[damage])
    (folder / "results.parquet").write_bytes(b"")
    explore_space(small(), folder)
    assert content(folder) == content(whole[1])


def test_any_flipped_bit_is_found(
    small: Make, whole: tuple[Exploration, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole[1], folder)
    part = folder / "parts/00000001.parquet"
    data = part.read_bytes()
    random = np.random.default_rng(0)
    with store.opened(folder, read(small())) as kept:
        assert kept.part(1) is not None
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1 << random.integers(8)
            part.write_bytes(flipped)
            assert kept.part(1) is None, place


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        explore_space(*arguments, **options)
    return str(caught.value)


def test_another_space_is_refused(
    small: Make, whole: tuple[Exploration, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole[1], folder)
    before = content(folder)
    other = small(search={"part": 6})
    old, new = read(small()).digest[:12], read(other).digest[:12]
    assert refusal(other, folder) == (
        f"{folder} holds the sweep of another space (digest {old}, not {new}): give another folder"
    )
    assert content(folder) == before
    (folder / "space.toml").write_text("workload = 'resnet18'\n", encoding="utf-8")
    assert refusal(other, folder) == (
        f"{folder}/space.toml was not written by nofm explore: give a folder of its own"
    )
    (tmp_path / "file").touch()
    assert refusal(other, tmp_path / "file") == (
        f"cannot write to {tmp_path}/file: {tmp_path}/file is not a folder"
    )
    assert not (tmp_path / "none").exists()
    assert refusal(small(batch=0), tmp_path / "none").startswith("space: batch must be ")
    assert refusal(small(), tmp_path / "none", workers=0).startswith("workers must be ")
    assert not (tmp_path / "none").exists()


def test_two_sweeps_in_one_folder(small: Make, whole: tuple[Exploration, Path]) -> None:
    _, folder = whole
    before = content(folder)
    with (folder / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert refusal(small(), folder) == (
            f"{folder} is in use by another sweep: wait for it, or give another folder"
        )
    assert content(folder) == before
    explore_space(small(), folder)


def test_a_folder_that_cannot_be_written(small: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "parts").touch()
    assert refusal(small(), folder) == f"cannot write to {folder}: File exists"


def test_an_interrupted_sweep_goes_on(
    small: Make, whole: tuple[Exploration, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "out"

    def interrupt(done: int, total: int, front: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore_space(small(), folder, workers=2, progress=interrupt)
    assert len(list((folder / "parts").iterdir())) == 2
    assert not (folder / "results.parquet").exists()
    explore_space(small(), folder)
    assert content(folder) == content(whole[1])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nofm.cli", "explore", *map(str, arguments)]


@pytest.mark.parametrize("failed", ["parts/00000000.parquet", "results.parquet"])
def test_a_full_disk(
    small: Make, whole: tuple[Exploration, Path], in_toml: Path_, tmp_path: Path, failed: str
) -> None:
    """No file may grow beyond a limit, which a part or only the result would pass."""
    path, folder = in_toml(small()), tmp_path / "out"
    most_bytes = (whole[1] / failed).stat().st_size - 1
    if failed == "results.parquet":
        assert all(part.stat().st_size <= most_bytes for part in whole[1].glob("parts/*"))
    code = f"""
        import resource, sys
        from nofm.cli import main
        from nofm.explore import run
        resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}))
        sys.argv = ["nofm", *{command(path, "-o", folder, "--workers", 1, "--no-report")[3:]!r}]
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"nofm: cannot write {folder}/{failed}: ")
    assert "File too large" in line
    assert not list(folder.rglob("*.new"))
    assert not (folder / "results.parquet").exists()
    explore_space(small(), folder)
    assert content(folder) == content(whole[1])


@pytest.fixture(scope="module")
def long(small: Make) -> dict[str, Any]:
    """A space that takes a while, in many parts."""
    parameters = {
        "pattern": ["2:4", "1:8"],
        "array.rows": {"from": 2, "to": 60, "step": 1},
        "dram.bandwidth_gbps": {"from": 1, "to": 6, "step": 1},
    }
    return small(parameters=parameters, search={"part": 3})


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        (3, 1),
        pytest.param(40, 1, marks=pytest.mark.slow),
        pytest.param(40, 2, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment(
    long: dict[str, Any], in_toml: Path_, tmp_path: Path, kills: int, workers: int
) -> None:
    """SIGKILL, time and again; then the sweep ends as if nothing had been."""
    path, folder = in_toml(long), tmp_path / "out"
    random = np.random.default_rng([kills, workers])
    ended = []
    for _ in range(kills):
        process = subprocess.Popen(
            command(path, "-o", folder, "--workers", workers, "--no-report"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = len(list(folder.glob("parts/*.parquet")))
        wanted = before + int(random.integers(0, 8))
        while process.poll() is None and len(list(folder.glob("parts/*.parquet"))) < wanted:
            time.sleep(0.003)
        with pytest.raises(subprocess.TimeoutExpired):  # a little later, unless it has ended
            process.wait(float(random.uniform(0, 0.03)))
        process.send_signal(signal.SIGKILL)
        ended.append(process.wait())
        assert len(list(folder.glob("parts/*.parquet"))) >= before
    assert set(ended) == {-signal.SIGKILL}
    explore_space(long, folder)
    undisturbed = tmp_path / "undisturbed"
    explore_space(long, undisturbed)
    assert content(folder) == content(undisturbed)


def test_workers_end_with_a_killed_parent(
    long: dict[str, Any], in_toml: Path_, tmp_path: Path
) -> None:
    path, folder = in_toml(long), tmp_path / "out"
    process = subprocess.Popen(
        command(path, "-o", folder, "--workers", 2, "--no-report"), stderr=subprocess.DEVNULL
    )
    while not list(folder.glob("parts/*.parquet")):
        assert process.poll() is None
        time.sleep(0.003)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    for child in children:
        for _ in range(500):
            state = Path(f"/proc/{child}/stat")
            if not state.exists() or " Z " in state.read_text():
                break
            time.sleep(0.02)
        else:
            pytest.fail(f"worker {child} lives on")


@pytest.fixture
def local(small: Make) -> Iterator[LocalWorkers]:
    found = LocalWorkers(read(small()), 2)
    yield found
    found.close()


def parts(count: int) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    return ((number, np.array([number])) for number in range(count))


def test_a_dead_worker_is_replaced(local: LocalWorkers) -> None:
    done = set()
    for number, table in local(parts(12)):
        assert table["design"].to_pylist() == [number]
        done.add(number)
        if len(done) == 3:
            for process in list(local._pool._processes.values()):
                os.kill(process.pid, signal.SIGKILL)
    assert done == set(range(12))


def test_workers_that_keep_dying(
    small: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers_module, "_begin", os._exit)  # which a space is no code for
    found = LocalWorkers(read(small()), 1)
    with pytest.raises(InputError) as caught:
        list(found(parts(3)))
    assert str(caught.value) == (
        "worker processes died 3 times in a row (is memory short?): what is done is kept; try "
        "again with fewer --workers"
    )
    found.close()
    capfd.readouterr()
