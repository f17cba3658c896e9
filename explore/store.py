"""A sweep's folder: what is found is written part by part, and nothing is lost or written twice.

    space.toml        the space in its canonical form, and its digest
    parts/            a table for each part that is done
    results.parquet   all parts together, once all are done
    front.csv         the designs of the front

A file appears whole or not at all: it is written beside its place, synced, and then moved there.
One process has the folder at a time, by a lock that ends with it however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nofm.explore.space import Space
from nofm.kernels.errors import InputError
from nofm.kernels.folder import check_folder

SPACE, PARTS, RESULTS, FRONT = "space.toml", "parts", "results.parquet", "front.csv"
LOCK = ".lock"
TEMPORARY = ".new"
"""Ending of a file that is being written."""

DIGEST = b"nofm.space"
"""Key of the space's digest in a Parquet file's metadata."""

CHECKSUM = b"nofm.checksum"
CHECKED = re.compile(rb"sha256:[0-9a-f]{64}")
UNSET = b"sha256:" + 64 * b"-"
"""A part's metadata hold the SHA-256 of the whole file, taken with `UNSET` in its place. Parquet's
own checksums cover pages only: a flipped bit beside them would go unseen."""

HEAD = "# A design space of nofm explore, digest {digest}\n"
PATTERN = re.compile(HEAD.format(digest="([0-9a-f]{64})"))


class Store:
    """A sweep's folder, locked; made by `opened`."""

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder = folder
        self._digest = space.digest.encode()

    def numbers(self) -> list[int]:
        """Numbers of the parts that are there, ascending."""
        names = [path.stem for path in (self.folder / PARTS).glob("*.parquet")]
        return sorted(int(name) for name in names if name.isdigit())

    def commit(self, number: int, table: pa.Table) -> None:
        """Write a part.

        Raises:
            InputError: it cannot be written; nothing of it stays.
        """
        sink = io.BytesIO()
        table = self.marked(table)
        with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({CHECKSUM: UNSET})
        data = sink.getvalue()
        with self.writing(f"{PARTS}/{number:08d}.parquet") as path:
            path.write_bytes(data.replace(UNSET, _checksum(data)))

    def part(self, number: int, columns: list[str] | None = None) -> pa.Table | None:
        """A part, or None where it is damaged."""
        path = self.folder / PARTS / f"{number:08d}.parquet"
        try:
            data = path.read_bytes()
            found = CHECKED.search(data)
            # Before anything of it is parsed, as damage can make Arrow raise all sorts of errors.
            if found is None or found[0] != _checksum(data.replace(found[0], UNSET)):
                return None
            file = pq.ParquetFile(pa.BufferReader(data))
            metadata = file.metadata.metadata or {}
            return file.read(columns) if metadata.get(DIGEST) == self._digest else None
        except (OSError, pa.ArrowException):
            return None

    def marked(self, table: pa.Table) -> pa.Table:
        """The table with the space's digest in its metadata."""
        return table.replace_schema_metadata({DIGEST: self._digest})

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write a file at, which then becomes `name`.

        Raises:
            InputError: it cannot be written; what was there stays as it was.
        """
        target = self.folder / name
        temporary = target.with_name(target.name + TEMPORARY)
        try:
            try:
                yield temporary
                _sync(temporary)
                os.replace(temporary, target)
                _sync(target.parent)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
        except OSError as error:
            raise InputError(f"cannot write {target}: {_reason(error)}") from None

    def write_text(self, name: str, text: str) -> None:
        """Write a file of text."""
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8")


def check(folder: Path, space: Space) -> None:
    """Refuse a folder that cannot hold this sweep, without touching it.

    Raises:
        InputError: it is no folder, or holds the sweep of another space.
    """
    check_folder(folder)
    path = folder / SPACE
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = PATTERN.match(file.readline(1000))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    if found is None:
        raise InputError(f"{path} was not written by nofm explore: give a folder of its own")
    if found[1] != space.digest:
        raise InputError(
            f"{folder} holds the sweep of another space (digest {found[1][:12]}, not "
            f"{space.digest[:12]}): give another folder"
        )


@contextlib.contextmanager
def opened(folder: Path, space: Space) -> Iterator[Store]:
    """The folder of a sweep, new or begun, which no other process has meanwhile.

    Raises:
        InputError: as `check`, or the folder cannot be written, or another process has it.
    """
    check(folder, space)
    try:
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {_reason(error)}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder} is in use by another sweep: wait for it, or give another folder"
            ) from None
        except OSError as error:
            raise InputError(f"cannot lock {folder}: {_reason(error)}") from None
        check(folder, space)  # again: another sweep may have begun and ended since
        store = Store(folder, space)
        for left in (*folder.glob(f"*{TEMPORARY}"), *(folder / PARTS).glob(f"*{TEMPORARY}")):
            left.unlink(missing_ok=True)
        if not (folder / SPACE).exists():
            store.write_text(SPACE, HEAD.format(digest=space.digest) + space.to_toml())
        yield store
    finally:
        os.close(lock)


def _checksum(data: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(data).hexdigest().encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    # What Arrow raises has its text in place of a number, over several lines.
    return error.strerror or str(error).splitlines()[0] if str(error) else type(error).__name__


__all__ = ["FRONT", "RESULTS", "Store", "check", "opened"]
