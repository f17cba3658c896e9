"""Measured results as a file: one JSON document, or a Parquet table with the rest in its metadata.

The documents, `nofm.bench/1` and `nofm.bench-estimate/1`, are described in docs/kernels.md.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from nofm.kernels.errors import InputError

KEY = b"nofm.bench"
MEASURED, ESTIMATED = "nofm.bench/1", "nofm.bench-estimate/1"
"""Schemas of the documents."""

ENDINGS = (".json", ".parquet")


def check(path: Path) -> None:
    """Refuse a name that no results file has, or a folder that is not there.

    Raises:
        InputError: it is so.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"a results file's name ends in .json or .parquet, not {path.name!r}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: {path.parent} is not a folder")


def write(document: dict[str, Any], path: Path) -> None:
    """Write a document; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    check(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        if path.suffix == ".json":
            temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            rest = {name: value for name, value in document.items() if name != "results"}
            table = pa.Table.from_pylist(document["results"])
            table = table.replace_schema_metadata({KEY: json.dumps(rest, allow_nan=False)})
            pq.write_table(table, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read(path: Path, schema: str = MEASURED) -> dict[str, Any]:
    """The document of a file that `write` made, of one schema.

    Raises:
        InputError: it is no such file.
    """
    try:
        if path.suffix == ".json":
            document = json.loads(path.read_text(encoding="utf-8"))
        else:
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            rest = json.loads((table.schema.metadata or {})[KEY])
            document = rest | {"results": table.to_pylist()}
        if document["schema"] != schema:
            raise KeyError("schema")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        kind = "measured" if schema == MEASURED else "estimated"
        raise InputError(f"{path} holds no {kind} results ({schema})") from None
    return document
