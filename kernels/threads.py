"""Work for several threads, which wait for it from call to call.

A thread that is made for a call begins up to a millisecond late, a third of the time that two of
them take for a product of 1024 at 1:8. These are kept, and the caller's own is one of those that
work. Linux often wakes a thread on the core of the one that woke it, where it waits milliseconds to
be moved: so they are kept off that core.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, get_native_id

_lock = Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0
_threads: list[int] = []


def side_by_side(work: Callable[[int], None], count: int) -> None:
    """Call `work` with 0, 1, ... `count` - 1, on as many threads where they are free.

    What no other thread has begun when this one is done, this one does too: a call never waits for
    work that was not begun, even where `work` itself calls this.

    Raises:
        Exception: what a call raised, once none runs any more.
    """
    if count == 1:
        work(0)
        return
    parts = _submit(work, count)
    error: BaseException | None = None
    for nth, part in enumerate([None, *parts]):
        try:
            if part is None or part.cancel():
                work(nth)
            else:
                part.result()
        except BaseException as raised:
            error = error or raised
    if error is not None:
        raise error


def _submit(work: Callable[[int], None], count: int) -> list[Future[None]]:
    global _pool, _size
    with _lock:
        if _pool is None or _size < count - 1:
            release()
            started = _threads.append
            _pool = ThreadPoolExecutor(count - 1, "nofm", lambda: started(get_native_id()))
            _size = count - 1
        _keep_off_this_core(_threads)
        return [_pool.submit(work, nth) for nth in range(1, count)]


def _keep_off_this_core(threads: list[int]) -> None:
    """Let threads run wherever this one may, but not where it runs now."""
    if not _SYSTEM_TELLS:
        return
    others = os.sched_getaffinity(0) - {_libc.sched_getcpu()}
    if others:
        for thread in threads:
            # A thread may have ended, or the system may not allow it: then it runs where it does.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, others)


_libc = ctypes.CDLL(None)
_SYSTEM_TELLS = hasattr(os, "sched_setaffinity") and hasattr(_libc, "sched_getcpu")


def release() -> None:
    """Let the threads end; the next call makes others, which inherit the cores that its thread is
    kept on."""
    global _pool, _size
    if _pool is not None:
        _pool.shutdown(wait=False)
    _pool, _size = None, 0
    _threads.clear()


def _forget() -> None:
    """In a forked process, which has none of the threads."""
    global _lock, _pool
    _lock, _pool = Lock(), None
    release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
