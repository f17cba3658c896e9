"""Work side by side: every part once, whoever does it, whatever raises, and after a fork."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator

import pytest

from nofm.kernels import threads
from nofm.kernels.threads import release, side_by_side


@pytest.fixture(autouse=True)
def no_threads_of_before() -> Iterator[None]:
    release()
    yield
    release()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_part_is_done_once(count: int) -> None:
    for _ in range(50):
        done: list[int] = []
        side_by_side(done.append, count)
        assert sorted(done) == list(range(count))


def test_parts_run_at_the_same_time_and_threads_are_kept() -> None:
    meeting = threading.Barrier(3, timeout=20)
    seen = []

    def work(nth: int) -> None:
        meeting.wait()
        seen.append(threading.get_ident())

    side_by_side(work, 3)
    side_by_side(work, 3)
    assert len(set(seen[:3])) == 3
    assert set(seen[:3]) == set(seen[3:])
    assert threading.get_ident() in seen


def test_work_within_work_ends() -> None:
    """Threads that are all busy are not waited for."""
    done: list[int] = []
    side_by_side(lambda _: side_by_side(done.append, 4), 4)
    assert sorted(done) == sorted([0, 1, 2, 3] * 4)


def test_callers_share_the_threads() -> None:
    done: list[int] = []

    def caller() -> None:
        for count in (2, 5, 3) * 20:
            side_by_side(done.append, count)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(20)
    assert len(done) == 4 * 20 * (2 + 5 + 3)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_a_part_raises_is_raised_when_all_have_ended(bad: int) -> None:
    done: list[int] = []

    def work(nth: int) -> None:
        if nth == bad:
            raise ValueError(f"part {nth}")
        time.sleep(0.02)
        done.append(nth)

    with pytest.raises(ValueError, match=f"part {bad}"):
        side_by_side(work, 3)
    assert sorted(done) == [nth for nth in range(3) if nth != bad]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_makes_its_own() -> None:
    side_by_side(lambda nth: None, 3)
    forked = multiprocessing.get_context("fork")
    queue = forked.Queue()

    def child() -> None:
        done: list[int] = []
        side_by_side(done.append, 3)
        queue.put(sorted(done))

    process = forked.Process(target=child)
    process.start()
    try:
        assert queue.get(timeout=20) == [0, 1, 2]
        process.join(20)
        assert process.exitcode == 0
    finally:
        process.kill()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
@pytest.mark.skipif(not threads._SYSTEM_TELLS, reason="the system does not tell cores")
def test_threads_keep_off_the_core_of_the_caller() -> None:
    side_by_side(lambda nth: None, 2)
    allowed = os.sched_getaffinity(0)
    meeting = threading.Barrier(2, timeout=20)
    found = {}

    def work(nth: int) -> None:
        meeting.wait()
        found[nth] = os.sched_getaffinity(0)

    try:
        for core in allowed:
            os.sched_setaffinity(0, {core})
            # It may run where its caller may, and there is no other core.
            side_by_side(work, 2)
            assert found[0] == {core}
        os.sched_setaffinity(0, allowed)
        side_by_side(work, 2)
        assert len(found[1]) == len(allowed) - 1
        assert found[1] < allowed
    finally:
        os.sched_setaffinity(0, allowed)
