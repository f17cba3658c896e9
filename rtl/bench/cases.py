"""Cases and results of a bench, as files: what is fed in, what must come out, what came out.

A case file is an `.npz` without pickled objects: `header`, a JSON text as bytes, and the words of
every stream as rows of bytes, the low byte first, lane after lane. It is written where the golden
data is known, and needs nothing but NumPy to be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
Lanes = Sequence[Sequence[int]]
"""Unsigned words by lane. A lane may also be a NumPy array of unsigned integers."""


@dataclass(frozen=True)
class Case:
    """What an engine gets and what it must give.

    Attributes:
        name: what the report calls it.
        inputs: words for every input stream, the job stream among them; a stream without words
            is there too, with empty lanes.
        outputs: words that every output stream must give, in order.
        jobs: how often the engine must say `done`.
        limit: cycles after which the case has failed.
        counters: values that a counter must have, job by job; what is not named is only reported.
        cares: for an output stream, the bits that count in every word; all, where not given.
        idle: the pattern of an input stream, as `patterns.pattern` reads it; "steady", if not
            given.
        backpressure: the same for output streams.
        seed: of the patterns.
        reset_at: cycle in which the engine is reset; the case then starts again from its beginning.
    """

    name: str
    inputs: Mapping[str, Lanes]
    outputs: Mapping[str, Lanes]
    jobs: int
    limit: int
    counters: Mapping[str, Sequence[int]] = field(default_factory=dict)
    cares: Mapping[str, Lanes] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    backpressure: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    reset_at: int | None = None


WORDS = ("inputs", "outputs", "cares")
PLAIN = ("name", "jobs", "limit", "counters", "idle", "backpressure", "seed", "reset_at")


def write_cases(path: Path, cases: Sequence[Case], counters: Sequence[str] = ()) -> None:
    """Write a case file, whole or not at all.

    Args:
        path: the file, `.npz`.
        cases: run in this order.
        counters: the engine's counters to report after every job, beside those a case demands.
    """
    arrays: dict[str, Any] = {}
    heads = []
    for number, case in enumerate(cases):
        head: dict[str, Any] = {name: getattr(case, name) for name in PLAIN}
        for what in WORDS:
            head[what] = {}
            for stream, lanes in getattr(case, what).items():
                rows = [_bytes(words) for words in lanes]
                size = max((row.shape[1] for row in rows), default=1)
                head[what][stream] = [len(row) for row in rows]
                wide = [np.pad(row, ((0, 0), (0, size - row.shape[1]))) for row in rows]
                arrays[f"{number}/{what}/{stream}"] = np.concatenate(wide)
        heads.append(head)
    names = dict.fromkeys([*counters, *(name for case in cases for name in case.counters)])
    header = {"format": FORMAT, "counters": list(names), "cases": heads}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_cases(path: Path) -> tuple[list[Case], list[str]]:
    """The cases of a file, and the counters to report."""
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != FORMAT:
            raise ValueError(f"{path} must have format {FORMAT}, and has {header['format']!r}")
        cases = []
        for number, head in enumerate(header["cases"]):
            for what in WORDS:
                for stream, lengths in head[what].items():
                    words = _words(arrays[f"{number}/{what}/{stream}"])
                    ends = np.cumsum(lengths).tolist()
                    head[what][stream] = [
                        words[end - length : end] for end, length in zip(ends, lengths, strict=True)
                    ]
            cases.append(Case(**head))
    return cases, header["counters"]


def _bytes(words: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Rows of bytes, one a word, as long as the longest word needs."""
    if isinstance(words, np.ndarray):
        if words.dtype.kind != "u" or words.ndim != 1:
            raise ValueError(f"words must be a row of unsigned integers, not {words.dtype}")
        little = words.astype(words.dtype.newbyteorder("<"))
        return little.view(np.uint8).reshape(len(words), -1)
    size = max(1, (max(words, default=0).bit_length() + 7) // 8)
    joined = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(joined, np.uint8).reshape(len(words), size)


def _words(rows: Any) -> list[int]:
    size = rows.shape[1]
    joined = rows.tobytes()
    return [
        int.from_bytes(joined[start : start + size], "little")
        for start in range(0, len(joined), size)
    ]


def arguments() -> dict[str, Any]:
    """What the bench that runs now was told, from the file that `NOFM_ARGUMENTS` names."""
    read: dict[str, Any] = json.loads(
        Path(os.environ["NOFM_ARGUMENTS"]).read_text(encoding="utf-8")
    )
    return read


def report(results: Mapping[str, Any]) -> None:
    """Write the results of the bench that runs now to the file that `NOFM_RESULTS` names.

    The file appears whole or not at all: whoever finds it knows that the bench came to its end.
    """
    path = Path(os.environ["NOFM_RESULTS"])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
