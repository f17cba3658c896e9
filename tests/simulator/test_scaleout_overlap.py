"""What is sent while the backward pass goes on: the recursion against events, and its laws."""

from __future__ import annotations

import heapq
from itertools import permutations
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.simulator.scaleout import interconnect
from nofm.simulator.scaleout.collectives import Fabric
from nofm.simulator.scaleout.gradients import EXCHANGES, Gradient, LocalStep
from nofm.simulator.scaleout.overlap import Bucket, end_of, fill, time_step


def by_events(buckets: list[Bucket], pass_cycles: int, overlap: bool = True) -> int:
    """The step's end, event by event: a board and a network, each busy with one thing at a time."""
    events: list[tuple[int, int, str, int]] = []
    for place, bucket in enumerate(buckets):
        ready = bucket.ready_cycle if overlap else pass_cycles
        heapq.heappush(events, (ready, 0, "ready", place))
    heapq.heappush(events, (pass_cycles, 0, "passed", -1))
    to_reduce: list[int] = []
    to_update: list[int] = []
    to_gather: list[int] = []
    board_free, network_free, reduced, now = False, True, 0, 0
    while events:
        now, _, what, place = heapq.heappop(events)
        if what == "ready":
            to_reduce.append(place)
        elif what == "passed":
            board_free = True
        elif what == "reduced":
            network_free, reduced = True, reduced + 1
            to_update.append(place)
        elif what == "updated":
            board_free = True
            to_gather.append(place)
        else:
            network_free = True
        if events and events[0][0] == now:
            continue  # all that happens at once is known before anything begins
        if network_free and to_reduce:
            place = to_reduce.pop(0)
            heapq.heappush(events, (now + buckets[place].reduce_cycles, 1, "reduced", place))
            network_free = False
        elif network_free and to_gather and reduced == len(buckets):
            place = to_gather.pop(0)
            heapq.heappush(events, (now + buckets[place].gather_cycles, 1, "gathered", place))
            network_free = False
        if board_free and to_update:
            place = to_update.pop(0)
            heapq.heappush(events, (now + buckets[place].update_cycles, 1, "updated", place))
            board_free = False
    return now


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[Bucket], int]:
    """Buckets in the order in which they are ready, and when the backward pass ends."""
    cycles = st.integers(0, 60)
    sharded = draw(st.booleans())
    ready = sorted(draw(st.lists(st.integers(0, 100), max_size=6)))
    buckets = [
        Bucket(at, draw(cycles), draw(cycles), draw(st.integers(1, 60)) if sharded else 0)
        for at in ready
    ]
    return buckets, draw(st.integers(ready[-1] if ready else 0, 120))


@given(steps(), st.booleans())
def test_recursion_is_what_events_give(step: tuple[list[Bucket], int], overlap: bool) -> None:
    buckets, passed = step
    assert end_of(buckets, passed, overlap) == by_events(buckets, passed, overlap)


@given(steps())
def test_bounds(step: tuple[list[Bucket], int]) -> None:
    buckets, passed = step
    computed = passed + sum(bucket.update_cycles for bucket in buckets)
    carried = sum(bucket.reduce_cycles + bucket.gather_cycles for bucket in buckets)
    end = end_of(buckets, passed)
    assert max(computed, carried) <= end <= computed + carried
    assert end <= end_of(buckets, passed, overlap=False) <= computed + carried


@given(steps(), st.data())
def test_earlier_is_never_slower(step: tuple[list[Bucket], int], data: st.DataObject) -> None:
    buckets, passed = step
    ready = sorted(data.draw(st.integers(0, bucket.ready_cycle)) for bucket in buckets)
    earlier = [
        Bucket(at, bucket.reduce_cycles, bucket.update_cycles, bucket.gather_cycles)
        for at, bucket in zip(ready, buckets, strict=True)
    ]
    assert end_of(earlier, passed) <= end_of(buckets, passed)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30), st.integers(0, 20)), max_size=3))
def test_no_other_order_of_the_boards_jobs_is_faster(jobs: list[tuple[int, int, int]]) -> None:
    """Jobs that make a gradient, each with its reduction and its update; every order of making and
    updating in which the gradients are made in their order."""
    names = [("make", i) for i in range(len(jobs))] + [("update", i) for i in range(len(jobs))]
    best = None
    for order in permutations(names):
        if [i for what, i in order if what == "make"] != list(range(len(jobs))):
            continue
        board, network, end = 0, 0, {}
        possible = True
        for what, i in order:
            if what == "make":
                board += jobs[i][0]
                network = max(network, board) + jobs[i][1]
                end[i] = network
            elif i in end:
                board = max(board, end[i]) + jobs[i][2]
            else:
                possible = False
        if possible:
            best = board if best is None else min(best, board)
    ready, at = [], 0
    for make, _, _ in jobs:
        at += make
        ready.append(at)
    buckets = [Bucket(r, job[1], job[2]) for r, job in zip(ready, jobs, strict=True)]
    assert end_of(buckets, at) == best


def gradient(place: int, size: int = 100) -> Gradient:
    return Gradient(
        layer=f"layer{place}",
        ready_cycle=1000 + 500 * place,
        elements=size,
        gradient_bytes=2 * size,
        kept_bytes=size // 2,
        weight_bytes=size,
        update_cycles=size + 20,
        update_fill_cycles=20,
    )


@given(st.lists(st.integers(1, 1000), max_size=12), st.integers(1, 4000))
def test_buckets_are_full_and_hold_all_in_order(sizes: list[int], least: int) -> None:
    gradients = [gradient(place, size) for place, size in enumerate(sizes)]
    buckets = fill(gradients, least)
    assert [item for bucket in buckets for item in bucket] == gradients
    held = [sum(item.gradient_bytes for item in bucket) for bucket in buckets]
    assert all(size >= least for size in held[:-1])
    for bucket, size in zip(buckets, held, strict=True):
        assert size - bucket[-1].gradient_bytes < least  # none could have gone earlier


def test_a_bucket_that_is_just_full_is_sent() -> None:
    gradients = [gradient(place, 100) for place in range(4)]
    assert [len(bucket) for bucket in fill(gradients, 400)] == [2, 2]


STEP = LocalStep(8, 900, 5000, tuple(gradient(place, 50_000 + 999 * place) for place in range(8)))
CLOCK_HZ = 200_000_000


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_one_board_alone_waits_for_nothing(exchange: str) -> None:
    fabric = Fabric(interconnect.load("roce-100g"), 25.6e9)
    found = time_step(STEP, 1, fabric, CLOCK_HZ, exchange=exchange, bucket_bytes=1 << 18)
    updates = sum(item.update_cycles for item in STEP.gradients)
    assert found.cycles == STEP.pass_cycles + updates
    assert found.update_cycles == updates
    assert (found.communication_cycles, found.exposed_cycles, found.sent_bytes) == (0, 0, 0)
    assert found.algorithms == ()


@pytest.mark.parametrize("preset", interconnect.presets())
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("boards", [2, 64, 1 << 17])
def test_laws_of_a_step(preset: str, exchange: str, boards: int) -> None:
    fabric = Fabric(interconnect.load(preset), 25.6e9)
    found, apart = (
        time_step(
            STEP, boards, fabric, CLOCK_HZ, exchange=exchange, bucket_bytes=1 << 18, overlap=overlap
        )
        for overlap in (True, False)
    )
    computed = STEP.pass_cycles + found.update_cycles
    assert found.cycles == computed + found.exposed_cycles
    assert found.cycles >= max(computed, found.communication_cycles)
    assert 0 <= found.exposed_cycles <= found.communication_cycles
    assert found.cycles <= apart.cycles
    assert found.communication_cycles == apart.communication_cycles > 0


def test_what_each_exchange_sends() -> None:
    """Over a ring, from one bucket: reduced bytes twice, or gradients once and weights once."""
    fabric = Fabric(interconnect.load("roce-100g"), 25.6e9, "ring")
    boards = 8
    whole = {
        name: sum(getattr(item, name) for item in STEP.gradients)
        for name in ("gradient_bytes", "kept_bytes", "weight_bytes")
    }

    def rounds(size: int) -> int:
        return (boards - 1) * -(-size // boards)

    expected = {
        "dense": 2 * rounds(whole["gradient_bytes"]),
        "shared-mask": 2 * rounds(whole["kept_bytes"]),
        "sharded": rounds(whole["gradient_bytes"]) + rounds(whole["weight_bytes"]),
    }
    for exchange, sent in expected.items():
        found = time_step(STEP, boards, fabric, CLOCK_HZ, exchange=exchange, bucket_bytes=1 << 30)
        assert (found.sent_bytes, found.buckets) == (sent, 1)


@pytest.mark.parametrize("bucket_bytes", [1, 1 << 30])
def test_a_bucket_waits_for_its_last_gradient(bucket_bytes: int) -> None:
    """Two gradients, the last one at the end of the backward pass: sent apart, then together."""
    first, last = gradient(0, 80_000), gradient(1, 60_000)
    step = LocalStep(8, 100, last.ready_cycle - 100, (first, last))
    fabric = Fabric(interconnect.load("roce-100g"), 25.6e9, "ring")

    def cycles(*sizes: int) -> int:
        return sum(ceil(fabric.cost("all_reduce", s, 4).seconds * CLOCK_HZ) for s in sizes)

    found = time_step(step, 4, fabric, CLOCK_HZ, exchange="dense", bucket_bytes=bucket_bytes)
    sizes = (first.gradient_bytes, last.gradient_bytes)
    if bucket_bytes == 1:
        passed = max(last.ready_cycle, first.ready_cycle + cycles(sizes[0])) + cycles(sizes[1])
        arrived = first.ready_cycle + cycles(sizes[0])
        updated = max(step.pass_cycles, arrived) + first.update_cycles
        expected = max(updated, passed) + last.update_cycles
    else:
        arrived = last.ready_cycle + cycles(sum(sizes))
        expected = arrived + first.update_cycles + last.update_cycles
    assert found.cycles == expected


def test_a_shard_is_updated_in_its_share_of_the_time() -> None:
    item = gradient(0, 1000)
    assert [item.shard_cycles(boards) for boards in (1, 2, 3, 10_000)] == [1020, 520, 354, 21]


@given(steps(), st.data())
def test_a_delay_of_jobs_makes_the_step_no_longer_than_itself(
    step: tuple[list[Bucket], int], data: st.DataObject
) -> None:
    """What the bound on contention for memory rests on: delays of the board add up at most."""
    buckets, passed = step
    late, delayed = 0, []
    for _ in buckets:  # before each gradient is there, and in each update
        late += data.draw(st.integers(0, 9))
        delayed.append((late, data.draw(st.integers(0, 9))))
    total = late + sum(own for _, own in delayed)
    slower = [
        Bucket(b.ready_cycle + by, b.reduce_cycles, b.update_cycles + own, b.gather_cycles)
        for b, (by, own) in zip(buckets, delayed, strict=True)
    ]
    before = end_of(buckets, passed)
    assert before <= end_of(slower, passed + late) <= before + total
