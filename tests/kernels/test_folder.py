"""A folder's files are written all together or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_write_that_fails_halfway_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "out", {"a": b"old", "mine": b"stays"})
    written: list[str] = []
    real: Callable[..., int] = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written.append(path.name)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    for folder in ("out", "x/y/out"):
        written.clear()
        with pytest.raises(InputError) as caught:
            write_folder(tmp_path / folder, {"a": b"new", "b": b"new"})
        assert str(caught.value) == f"cannot write to {tmp_path / folder}: No space left on device"
    assert contents(tmp_path) == {"out/a": b"old", "out/mine": b"stays"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fails_at", range(1, 7))
def test_a_move_that_fails_halfway_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    before = {"a": b"old", "d/b": b"old", "gone": b"old", "mine": b"stays"}
    write_folder(tmp_path, before)
    real, moves = os.rename, []

    def stuck(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == fails_at:
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "rename", stuck)
    with pytest.raises(InputError) as caught:
        write_folder(tmp_path, {"a": b"new", "d/c": b"new", "e": b"new"}, ["gone"])
    assert str(caught.value) == f"cannot write to {tmp_path}: Permission denied"
    monkeypatch.undo()
    assert contents(tmp_path) == before


def test_files_of_the_same_name_are_replaced_and_others_stay(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", {"a": b"old", "mine": b"stays"})
    paths = write_folder(tmp_path / "out", {"a": b"new", "b": b"new"})
    assert paths == [tmp_path / "out/a", tmp_path / "out/b"]
    assert contents(tmp_path) == {"out/a": b"new", "out/b": b"new", "out/mine": b"stays"}


@pytest.mark.parametrize("exists", [False, True])
def test_folders_within_and_former_names(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "out"
    if exists:
        write_folder(folder, {"d/old": b"old", "f/old": b"old", "gone": b"old"})
    write_folder(folder, {"d/e/new": b"new", "g": b"new"}, ["d", "f", "gone"])
    assert contents(folder) == {"d/e/new": b"new", "g": b"new"}
    assert sorted(path.name for path in folder.iterdir()) == ["d", "g"]
