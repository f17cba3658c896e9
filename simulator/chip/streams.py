"""Streams from memory and back, and the vector unit, which works on them."""

from __future__ import annotations

from typing import Any

from nofm.kernels.tiered import helper, integers
from nofm.simulator.chip.queues import AHEAD, BUFFER, RING, cut, leave, regroup

STREAM_READ = integers("head", "tail")

STREAM_WRITE = integers(
    *("walks", "under_way", "active", "left", "head", "tail"),
)

LANES = integers(
    *("busy", "job", "enters", "drain", "rest"),
    # The sequencer: elements of the run behind, held runs, passes and rounds done.
    *("valid", "done", "held", "passes", "rounds"),
    # Beats on their way to the lanes.
    *("head", "tail", "place"),
)


@helper
def begin_write(write: Any, client: Any, first: Any, runs: Any, length: Any, cycle: Any) -> Any:
    """A stream is written from the next cycle on."""
    write.walks = 1
    client.run, client.end, client.first, client.length = first, first + runs, cycle + 3, length


@helper
def begin_read(client: Any, first: Any, runs: Any, length: Any, cycle: Any) -> Any:
    """A stream is read from the next cycle on."""
    client.run, client.end, client.first, client.length = first, first + runs, cycle + 3, length


@helper
def stream_read(
    s: Any,
    client: Any,
    elements: Any,
    sizes: Any,
    granules: Any,
    owner: Any,
    halves: Any,
    size: Any,
    out_ready: Any,
) -> Any:
    """A cycle of a `StreamRead`, which is asked for `size` elements, less one, or -1."""
    asked = sizes[s.head % RING] if s.head < s.tail else -1
    comes = 0
    if leave(client, elements.room >= halves):
        comes = granules[owner, (client.left_words - 1) % RING] + 1
        client.room += 1
    s.head += regroup(elements, comes, asked, 0, out_ready)
    if size >= 0:
        sizes[s.tail % RING] = size
        s.tail += 1


@helper
def stream_write(
    w: Any,
    client: Any,
    elements: Any,
    runs: Any,
    addresses: Any,
    comes: Any,
    run: Any,
    done: Any,
    size: Any,
    cycle: Any,
) -> Any:
    """A cycle of a `StreamWrite`, to which so many elements come; `run` is the next run's length,
    less one, or -1. Whether the run is taken."""
    halves = size.halves
    runs_ready = w.tail - w.head != BUFFER
    ready = client.level != size.client_beats
    if elements.out and ready:
        client.level += 1
        client.room += 1
    cut(w, elements, runs, comes, halves, ready)
    takes = False
    told = client.run < client.end and cycle >= client.first
    if told and run >= 0 and runs_ready and not client.command:
        takes = True
        client.command, client.at, client.left = 1, addresses[client.run], run
        client.run += 1
        runs[w.tail % RING] = run
        w.tail += 1
        w.under_way += 1
        w.walks = client.run < client.end
    w.under_way -= done
    return takes


@helper
def vector_cycle(
    v: Any,
    job: Any,
    reads: Any,
    regroups: Any,
    sizes: Any,
    write: Any,
    write_regroup: Any,
    write_runs: Any,
    beats: Any,
    pipe: Any,
    readers: Any,
    writer: Any,
    granules: Any,
    addresses: Any,
    size: Any,
    done: Any,
    cycle: Any,
) -> Any:
    """A cycle of a `VectorUnit`."""
    lanes = size.vector_lanes
    writes_busy = write.walks or write.under_way
    finished = v.busy and not v.enters and v.drain == 0 and not writes_busy
    there = v.head < v.tail
    ahead_ready = v.tail - v.head != AHEAD
    beat = beats[v.head % RING]
    takes_a, takes_b = there and beat[0], there and beat[1]
    gives, begins, writes, count, last = beat[2], beat[3], beat[4], beat[5], beat[6]
    pauses = v.enters and there and begins and v.rest != 0
    whole = there and (not takes_a or regroups[0].out) and (not takes_b or regroups[1].out)
    goes = (pauses or whole) if v.enters else v.drain != 0
    given = pipe[v.place]
    room = write_regroup.room >= lanes
    advance = goes and (given == 0 or room)
    takes = advance and v.enters and not pauses
    comes = given if advance else 0
    if advance:
        pipe[v.place] = count + 1 if takes and gives else 0
        v.place = (v.place + 1) % size.vector_latency
    if takes and begins and writes:
        v.rest = job.rest - 1
    elif advance and v.rest:
        v.rest -= 1
    if takes and last:
        v.enters, v.drain = 0, size.vector_latency
    elif advance and not v.enters:
        v.drain -= 1
    v.head += takes
    # The next beat is asked of its streams.
    sizes_ready = (reads[0].tail - reads[0].head != BUFFER, reads[1].tail - reads[1].head != BUFFER)
    asked_a, asked_b = -1, -1
    if v.valid:
        holds = v.held != job.held
        left = job.run - 1 - v.done
        run_end = left < lanes
        wants_a = not holds and job.takes_a
        wants_b = holds or job.takes_b
        if ahead_ready and (not wants_a or sizes_ready[0]) and (not wants_b or sizes_ready[1]):
            count = left if run_end else lanes - 1
            pass_end = v.passes == job.passes - 1
            round_end = run_end and not holds and pass_end
            last = round_end and v.rounds == job.rounds - 1
            new = beats[v.tail % RING]
            new[0], new[1], new[3], new[5], new[6] = wants_a, wants_b, v.done == 0, count, last
            new[2] = not holds and (not job.reduces or pass_end)
            new[4] = holds or job.writes
            v.tail += 1
            asked_a = count if wants_a else -1
            asked_b = count if wants_b else -1
            v.valid = not last
            v.done = 0 if run_end else v.done + lanes
            if run_end and holds:
                v.held += 1
            if run_end and not holds:
                v.passes = 0 if pass_end else v.passes + 1
            if round_end:
                v.held = 0
                v.rounds += 1
    half = size.halves
    stream_read(
        reads[0], readers[3], regroups[0], sizes[0], granules, 3, half, asked_a, takes and takes_a
    )
    stream_read(
        reads[1], readers[4], regroups[1], sizes[1], granules, 4, half, asked_b, takes and takes_b
    )
    run = job.length if v.busy else -1
    stream_write(write, writer, write_regroup, write_runs, addresses, comes, run, done, size, cycle)
    if finished:
        v.busy = 0
