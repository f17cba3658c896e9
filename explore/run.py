"""Explore a design space: evaluate its designs, keep what is found, and say which are best."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.explore import results, store, workers
from nofm.explore.front import Front
from nofm.explore.read import read
from nofm.explore.results import Tally
from nofm.explore.space import Search, Space
from nofm.explore.store import Store
from nofm.kernels.errors import positive

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "nofm.explore/1"

Progress = Callable[[int, int, int], None]
"""Told how many designs are done, of how many, and how many are in the front."""

MAX_WORKERS = 1024

DRAWN = 100_000
"""Most designs, beside the front, that pictures and the page are made of."""


class Exploration:
    """What a sweep found.

    Attributes:
        space: the space.
        folder: where its files are; it goes with this object where none was asked for.
    """

    def __init__(self, space: Space, folder: Path, tally: Tally, *, temporary: bool) -> None:
        self.space, self.folder, self._tally = space, folder, tally
        if temporary:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every design that was evaluated, in the order of their numbers (docs/explore.md lists
        the columns). It is read from `results.parquet` as a whole."""
        import pandas as pd

        return pd.read_parquet(self.folder / store.RESULTS)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The rows of the Pareto front, best in the first objective first."""
        frame: pd.DataFrame = self._tally.front.to_pandas()
        return frame

    def write_report(self, command: str = "") -> list[Path]:
        """Write the sweep's pictures and its page into the folder (docs/explore-report.md); of more
        than `DRAWN` designs, those of the front and as many others, drawn at random.

        Args:
            command: what to run to get the same again, for the page.

        Raises:
            InputError: there is nothing to draw, or the folder cannot be written.
        """
        from nofm.explore import pictures, report
        from nofm.explore.space_info import SpaceInfo

        table, info = results.sample(self.folder / store.RESULTS, DRAWN), SpaceInfo.of(self.space)
        written = []
        if self._tally.front.num_rows:
            written = pictures.write(self.folder, table, info)
        return [*written, report.write(self.folder, table, info, command=command)]

    @cached_property
    def document(self) -> dict[str, Any]:
        """What `nofm explore --json` prints (docs/json.md)."""
        space, tally = self.space, self._tally
        described = space.document()
        errors = sorted(tally.errors.items(), key=lambda item: (-item[1], item[0]))
        return {
            "schema": SCHEMA,
            "digest": space.digest,
            "parameters": described["parameters"],
            "constraints": described.get("constraints", {}),
            "objectives": described["objectives"],
            "search": described["search"],
            "hardware": described["base"],
            "designs": space.count,
            "evaluated": tally.evaluated,
            "failed": tally.failed,
            "feasible": tally.feasible,
            "errors": [{"error": text, "designs": count} for text, count in errors],
            "front": results.plain_rows(tally.front),
        }


def explore_space(
    space: str | Path | Mapping[str, Any],
    folder: str | Path | None = None,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Evaluate the designs of a space, all of them or as a guided search asks for them.

    What is found is kept in the folder as it comes. A sweep that ended early, however it did,
    goes on from there, and gives the same files in the end.

    Args:
        space: a TOML file, or the same as nested dicts (docs/explore.md).
        folder: for the result; without one it is kept in memory's stead in a temporary folder.
        workers: processes on this machine; 1 works in this one. A script that asks for more needs
            its `if __name__ == "__main__"`, as `multiprocessing` does.
        scheduler: address of a Dask scheduler, `tcp://host:port`, in place of processes here.
        progress: called as designs are done.

    Raises:
        InputError: something in the space cannot be used; the folder holds another sweep, is in
            use, or cannot be written; the scheduler cannot be reached.
    """
    found = read(space)
    positive("workers", workers, at_most=MAX_WORKERS)
    if folder is not None:
        store.check(Path(folder), found)
    search = _searcher(found.search)
    with ExitStack() as stack:
        evaluator = _evaluator(stack, found, workers, scheduler)
        where = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="nofm-"))
        try:
            with store.opened(where, found) as kept:
                tally = search(found, kept, evaluator, progress or _silent)
                kept.write_text(store.FRONT, results.to_csv(tally.front))
        except BaseException:
            if folder is None:
                shutil.rmtree(where, ignore_errors=True)
            raise
    return Exploration(found, where, tally, temporary=folder is None)


def _silent(done: int, total: int, front: int) -> None:
    pass


def _searcher(search: Search) -> Callable[[Space, Store, Any, Progress], Tally]:
    if not search.guided:
        return exhaustive
    from nofm.explore import guided

    guided.check_installed(search.kind)
    return guided.search


def _evaluator(
    stack: ExitStack, space: Space, count: int, scheduler: str | None
) -> workers.Evaluator:
    parts = -(-space.count // space.search.part)
    if space.search.guided:
        from nofm.explore.guided import PIECE

        parts = -(-space.search.part // PIECE)
    if scheduler is not None:
        from nofm.explore.cluster import Cluster

        cluster = Cluster(space, scheduler)
        stack.callback(cluster.close)
        return cluster
    if min(count, parts) == 1:
        return workers.here(space)
    local = workers.LocalWorkers(space, min(count, parts))
    stack.callback(local.close)
    return local


def exhaustive(
    space: Space, kept: Store, evaluator: workers.Evaluator, progress: Progress
) -> Tally:
    """Evaluate every design that is not there yet, and write the result."""
    size = space.search.part
    count = -(-space.count // size)
    front = Front([o.maximise for o in space.objectives])
    done = 0
    there = set()
    for number in kept.numbers():
        table = kept.part(number)
        if table is None or number >= count:
            continue
        there.add(number)
        results.add_to_front(front, space, table)
        done += len(table)
    progress(done, space.count, len(front))

    def missing() -> Iterator[workers.Part]:
        for number in range(count):
            if number not in there:
                first = number * size
                yield number, np.arange(first, min(first + size, space.count))

    for number, table in evaluator(missing()):
        kept.commit(number, table)
        results.add_to_front(front, space, table)
        done += len(table)
        progress(done, space.count, len(front))
    return results.write(kept, space, results.in_order(kept, range(count)), front)
