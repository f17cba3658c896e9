"""Products to measure, from shapes, files and networks; and the document of what was measured."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import products
from nofm.kernels import machine, results_file
from nofm.kernels.arm import build, counted, estimate
from nofm.kernels.arm.counted import Counted
from nofm.kernels.errors import InputError, positive
from nofm.kernels.measure import Case, Result, kernels, measure, rows
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.resolve import resolve

SUITES = {"bert": "bert-base", "llama": "llama-block"}
"""Short names of networks whose products are a suite; any other network or trace is one too."""

METHOD = "bdwp"
"""Its FF and BP products are a suite's, each with groups along its own reduction."""

MAX_SHAPES = 10_000

Shape = tuple[int, int, int, int, str, tuple[str, ...]]
"""m, taps, length, n, stage and layers of a product."""


def shapes_of_gemms(gemms: Iterable[tuple[int, int, int]]) -> list[Shape]:
    """Products (m, k, n) as shapes."""
    return [(m, 1, k, n, "ff", ()) for m, k, n in gemms]


def shapes_of_suite(suite: str, batch: int) -> list[Shape]:
    """The N:M products of a network's training step, equal ones once.

    Args:
        suite: a name of `SUITES`, a network, a trace file, or a CSV with the columns m, n and k.
        batch: samples a step; of a CSV's products it is no part.

    Raises:
        InputError: there is no such suite, or nothing in it is pruned.
    """
    if Path(suite).suffix.lower() == ".csv":
        return _read_csv(Path(suite))
    trace = resolve(SUITES.get(suite, suite), batch)
    found: dict[tuple[int, int, int, int, str], list[str]] = defaultdict(list)
    for layer in trace.layers:
        for stage in ("ff", "bp"):
            # A pattern stands for all: it only says which products would be pruned.
            for item in products(layer, stage, METHODS[METHOD], Pattern(1, 2)):
                if item.pattern != DENSE and item.count == 1:
                    found[item.m, item.taps, item.length, item.n, stage].append(layer.name)
    if not found:
        raise InputError(f"suite {suite!r} has no product that {METHOD} would prune")
    return [(*shape, tuple(layers)) for shape, layers in found.items()]


def _read_csv(path: Path) -> list[Shape]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            names = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
            if not {"m", "n", "k"} <= set(names):
                raise InputError(f"{path} must have the columns m, n and k, not {list(names)}")
            shapes: list[Shape] = []
            for line, row in enumerate(table, 2):
                sizes = {}
                for name in ("m", "k", "n"):
                    text = (row[names[name]] or "").strip()
                    value = int(text) if text.isascii() and text.isdigit() else text
                    sizes[name] = positive(f"{path}, line {line}: {name}", value, at_most=2**24)
                shapes.append((sizes["m"], 1, sizes["k"], sizes["n"], "ff", ()))
                if len(shapes) > MAX_SHAPES:
                    raise InputError(f"{path} has more than {MAX_SHAPES} products")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not shapes:
        raise InputError(f"{path} lists no products")
    return shapes


def bench(
    shapes: Sequence[Shape],
    patterns: Sequence[Pattern],
    sharings: Sequence[int],
    *,
    on: str = "cpu",
    dtype: str = "float32",
    layout: str = "rows",
    threads: int = 1,
    seconds: float = 2.0,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> dict[str, Any]:
    """Measure every shape with every pattern and sharing: the document `nofm.bench/1`.

    Of "arm" on another machine instructions are counted: the document `nofm.bench-estimate/1`.

    Raises:
        InputError: a size is out of range, or the device cannot be used.
    """
    if dtype not in ("float32", "float16") or layout not in ("rows", "columns"):
        raise InputError(
            f"dtype must be float32 or float16 and layout rows or columns, not {dtype} and {layout}"
        )
    cases = [
        Case(
            m=m,
            taps=taps,
            length=length,
            n=n,
            pattern=pattern,
            sharing=sharing,
            dtype=dtype,
            layout=layout,
            stage=stage,
            layers=layers,
        )
        for m, taps, length, n, stage, layers in shapes
        for pattern in patterns
        for sharing in sharings
    ]
    if on == "arm" and not build.native():
        if threads != 1:
            raise InputError(f"threads must be 1 where ARM is emulated, not {threads}")
        return _counted(cases, progress)
    usable, skipped = kernels(on)
    with usable[0].limits(threads):
        before = usable[0].describe()
        results = measure(cases, on, threads=threads, seconds=seconds, progress=progress)
        after = machine.describe()
    return {
        "schema": results_file.MEASURED,
        "device": on,
        "threads": threads,
        "clock": _clock(on, threads),
        "machine": before,
        "load_average_after": after["load_average"],
        "results": rows(results),
        "notes": _notes(
            results,
            before,
            skipped,
            sum(not any(kernel.takes(case) for kernel in usable) for case in cases),
        ),
    }


def _clock(device: str, threads: int) -> str:
    if device == "cuda":
        return "time of the device, between two events"
    return "time of the thread" if threads == 1 else "time of the wall"


def _counted(cases: Sequence[Case], progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    found = counted.count(cases, progress)
    notes = [
        "no ARM machine: nothing is timed; instructions are counted exactly, by emulation",
        f"a dense product is that of {counted.DENSE_KERNEL}",
    ]
    if reason := estimate.missing():
        notes.append(reason)
    else:
        notes.append(
            "cycles are an estimate: inner loops by llvm-mca with operands in the first cache, "
            "other instructions at one a cycle"
        )
    return {
        "schema": results_file.ESTIMATED,
        "estimated": True,
        "device": "arm",
        "compiler": build.version(),
        "cores": list(estimate.CORES) if estimate.missing() is None else [],
        "results": counted.rows(found),
        "notes": notes + _wrong(found),
    }


def _notes(
    results: Sequence[Result], before: dict[str, Any], skipped: dict[str, str], untaken: int
) -> list[str]:
    notes = [f"{kernel} is skipped: {reason}" for kernel, reason in skipped.items()]
    if untaken:
        notes.append(f"{untaken} products that no kernel here takes are left out")
    notes += [
        "a dense product is that of the quickest library, and of weights that are not pruned",
        "indices are decoded before: once for a matrix, not once for a product",
    ]
    load, cores = before["load_average"], before["cores"]
    if load and cores and load[0] > cores / 2:
        notes.append(
            f"the machine was busy: load {load[0]} on {cores} cores; dense and N:M took turns"
        )
    return notes + _wrong(results)


def _wrong(results: Sequence[Result | Counted]) -> list[str]:
    return [
        f"{one.m}x{one.k}x{one.n} {one.pattern}: error {one.max_error:.3g} is above its bound "
        f"{one.error_bound:.3g}"
        for one in results
        if one.max_error > one.error_bound
    ]


def correct(document: dict[str, Any]) -> bool:
    """Whether every result that was checked is as near as it must be."""
    return all(row["max_error"] <= row["error_bound"] for row in document["results"])
