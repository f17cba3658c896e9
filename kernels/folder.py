"""Write a folder's files all together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path, PurePosixPath

from nofm.kernels.errors import InputError


def check_folder(folder: Path) -> list[Path]:
    """The folders that must be made for `folder` to exist, innermost first.

    Raises:
        InputError: what there is of its path is no folder.
    """
    path = (folder, *folder.parents)
    made = list(takewhile(lambda part: not os.path.lexists(part), path))
    nearest = path[len(made)]
    if not nearest.is_dir():
        raise InputError(f"cannot write to {folder}: {nearest} is not a folder")
    return made


def write_folder(
    folder: str | os.PathLike[str], files: Mapping[str, bytes], former: Iterable[str] = ()
) -> list[Path]:
    """Write files into a folder, which is made if need be.

    They are written in full beside their places and only then moved there: what cannot be written
    leaves nothing behind, and what was there stays as it was. Files of these names are replaced;
    a folder in the way of a folder is replaced with all that it holds; the rest stays.

    Args:
        folder: where to.
        files: contents by name, which may lead into folders (`verilog/top.v`).
        former: names that go, files or folders.

    Returns:
        Paths of the files, in the order of `files`.

    Raises:
        InputError: the folder, or a file in it, cannot be written.
    """
    folder = Path(folder)
    made = check_folder(folder)
    try:
        for name in files:
            if (folder / name).is_dir():
                raise InputError(f"cannot write {folder / name}: it is a folder, not a file")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A folder that exists may be a mount point: only inside it can files move for sure.
        nearby = folder.parent if made else folder
        staging = Path(tempfile.mkdtemp(prefix=".nofm-", dir=nearby))
        try:
            # What `mkdtemp` makes is private; the result should have the usual permissions.
            ready = staging / "ready"
            ready.mkdir()
            for name, content in files.items():
                (ready / name).parent.mkdir(parents=True, exist_ok=True)
                (ready / name).write_bytes(content)
            if not made:
                _exchange(folder, ready, staging / "former", _tops([*files, *former]))
            else:
                os.rename(ready, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        _remove_empty(made)
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
    except BaseException:
        _remove_empty(made)
        raise
    return [folder / name for name in files]


def _tops(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(PurePosixPath(name).parts[0] for name in names))


def _exchange(folder: Path, ready: Path, former: Path, names: Iterable[str]) -> None:
    """Move entries of `folder` to `former`, and those of `ready` to `folder`: all or none."""
    former.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for source, target in ((folder, former), (ready, folder)):
                if os.path.lexists(source / name):
                    os.rename(source / name, target / name)
                    moved.append((source / name, target / name))
    except BaseException:
        for source, target in reversed(moved):
            os.rename(target, source)
        raise


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost first, as far as they exist and are empty."""
    for path in folders:
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
