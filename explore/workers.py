"""Who evaluates the parts of a sweep: this process, local ones, or a cluster of Dask.

All give the same tables; they come in no order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import Any

import numpy as np
import pyarrow as pa

from nofm.explore.evaluate import evaluate
from nofm.explore.space import Space
from nofm.kernels.errors import InputError

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Part = tuple[int, Numbers]
"""A part's number, and the designs in it."""

Evaluator = Callable[[Iterable[Part]], Iterator[tuple[int, pa.Table]]]
"""Evaluates parts: a table for each, in any order."""

AHEAD = 2
"""Parts that wait for each worker, so that none is idle."""

PATIENCE = 3
"""Times in a row that workers may die before any part is done."""


def here(space: Space) -> Evaluator:
    """In this process."""

    def run(parts: Iterable[Part]) -> Iterator[tuple[int, pa.Table]]:
        for number, designs in parts:
            yield number, evaluate(space, designs)

    return run


class LocalWorkers:
    """Processes on this machine. One that dies is replaced, and its parts are done again."""

    def __init__(self, space: Space, count: int) -> None:
        self._space, self._count = space, count
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count, get_context("spawn"), initializer=_begin, initargs=(self._space,)
        )

    def __call__(self, parts: Iterable[Part]) -> Iterator[tuple[int, pa.Table]]:
        """Evaluate parts.

        Raises:
            InputError: workers keep dying.
        """
        todo = iter(parts)
        waiting: dict[Future[bytes], Part] = {}
        again: list[Part] = []
        deaths = 0
        while True:
            try:
                while len(waiting) < self._count * AHEAD:
                    part = again.pop() if again else next(todo, None)
                    if part is None:
                        break
                    again.append(part)  # until it is accepted
                    waiting[self._pool.submit(_work, part[1])] = part
                    again.pop()
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    data = future.result()
                    number, _ = waiting.pop(future)
                    deaths = 0
                    yield number, unpacked(data)
            except BrokenProcessPool:
                deaths += 1
                if deaths == PATIENCE:
                    raise InputError(
                        f"worker processes died {PATIENCE} times in a row (is memory short?): what "
                        "is done is kept; try again with fewer --workers"
                    ) from None
                again += waiting.values()
                waiting.clear()
                self._pool.shutdown(wait=False)
                self._pool = self._started()

    def close(self) -> None:
        """Stop the processes, at work or not."""
        # What they do is lost and can be: it is not written yet.
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with suppress(Exception):
                process.terminate()
        for process in processes:
            process.join()


def packed(table: pa.Table) -> bytes:
    """A table as bytes, for the way between processes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpacked(data: bytes) -> pa.Table:
    """The table of `packed` bytes."""
    return pa.ipc.open_stream(data).read_all()


_space: Space | None = None


def _begin(space: Space) -> None:
    """Set a worker process up."""
    import signal

    global _space
    _space = space
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that has the folder decides
    # A worker whose parent was killed would wait for work forever.
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(designs: Numbers) -> bytes:
    assert _space is not None
    return packed(evaluate(_space, designs))


__all__ = ["Evaluator", "LocalWorkers", "Part", "here", "islice", "packed", "unpacked"]
