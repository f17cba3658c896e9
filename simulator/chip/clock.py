"""The clock: all units of a chip do a cycle, until its program is over."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.tiered import JIT_OPTIONS
from nofm.simulator.chip.bus import (
    MEMORY,
    READ_MASTER,
    WINDOW,
    WRITE_MASTER,
    ask,
    choose,
    memory_cycle,
    read_cycle,
    serve,
    write_cycle,
    write_share,
)
from nofm.simulator.chip.moves import (
    FETCHER,
    LOADER,
    STORER,
    fetch_cycle,
    load_cycle,
    start_walk,
    store_cycle,
)
from nofm.simulator.chip.pruning import FORM, PRUNER, begin_pruner, pruner_cycle
from nofm.simulator.chip.queues import BUFFER, CLIENT, REGROUP, RING, capacity
from nofm.simulator.chip.records import (
    AFTER,
    FIRST_WISH,
    OPERATIONS,
    READERS,
    RESULT,
    UNITS,
    WAITS,
    WRITERS,
)
from nofm.simulator.chip.streams import (
    LANES,
    STREAM_READ,
    STREAM_WRITE,
    begin_read,
    begin_write,
    vector_cycle,
)

_LOAD_A, _LOAD_W, _ARRAY, _FEED_A, _FEED_W, _COLLECT, _STORE, _VECTOR, _UPDATE, _PRUNE = range(10)
_STALLED = len(RESULT) - 1
# Numbers of operations.
_PRODUCT, _STORES, _VECTORS, _UPDATES = (
    OPERATIONS.index(name) for name in ("product", "store", "vector", "update")
)
# What the dispatcher does.
_HEADER, _PAYLOAD, _CHECK, _WAIT, _OFFER, _END, _DONE = range(7)


def _compiled(sources: int) -> Callable[..., Any]:
    """The function below, whose compiled form is kept until any file of this folder changes.

    Numba's cache watches this file alone; but what a function sees around it is part of what it is
    found by.
    """

    @njit(cache=True, nogil=True, **JIT_OPTIONS)  # type: ignore[untyped-decorator]
    def run(
        machine: Any,
        descriptors: Any,
        words: Any,
        program: Any,
        moves: Any,
        products: Any,
        vectors: Any,
        prunings: Any,
        words_of: Any,
        pieces: Any,
        addresses: Any,
        items: Any,
        blocks: Any,
        most: Any,
        trace: Any,
    ) -> Any:
        """Cycles of a program.

        Args:
            machine: `MACHINE` [1].
            descriptors: `DESCRIPTOR` [descriptors].
            words: of the program.
            program: address of its first FP16 element.
            moves: `MOVE` [jobs].
            products: `PRODUCT` [steps].
            vectors: `VECTOR` [jobs].
            prunings: `PRUNING` [jobs].
            words_of: words of their engines: columns, and groups of both forms that end
                with it [., 3].
            pieces: of second forms: kept elements, less one, FP16 elements, less one, rows,
                and groups that must have been taken before [., 4].
            addresses: of runs, FP16 elements, int64.
            items: elements of a load's pieces, or a store's rows, less one (rows: as they are).
            blocks: FP16 elements, less one, and kept ones of a weight load's blocks [., 2].
            most: cycles to give up after.
            trace: int64 [5, n]: how often AR, R, AW, W and B moved, and in which cycles.

        Returns:
            `RESULT`, int64; `cycles` is -1 where the program did not end.
        """
        # What is compiled depends on all files of the folder.
        assert sources >= 0
        size = machine[0]
        readers, writers = np.zeros(len(READERS), CLIENT), np.zeros(len(WRITERS), CLIENT)
        for each in readers:
            each.room = size.client_beats
        granules = np.zeros((len(readers), RING), np.int64)
        regroups = np.zeros(4, REGROUP)
        half = size.halves
        kept = size.kept_ways * 16
        for k, (comes, goes) in enumerate(
            ((half, half), (kept, half), (half, 2 * kept), (size.most_results, half))
        ):
            regroups[k].room = capacity(max(comes, goes))
        regroups[2].room = size.unpack_room
        vector_regroups = np.zeros(3, REGROUP)
        for each in vector_regroups:
            each.room = capacity(max(half, size.vector_lanes))
        vector_reads, vector_writes = np.zeros(2, STREAM_READ), np.zeros(1, STREAM_WRITE)
        vector_sizes, vector_runs = np.zeros((2, RING), np.int64), np.zeros(RING, np.int64)
        beats, pipe = np.zeros((RING, 7), np.int64), np.zeros(size.vector_latency, np.int64)
        vector_lanes = np.zeros(1, LANES)
        pruners = np.zeros(2, PRUNER)
        prune_reads, prune_writes = np.zeros((2, 3), STREAM_READ), np.zeros((2, 5), STREAM_WRITE)
        prune_in, prune_out = np.zeros((2, 3), REGROUP), np.zeros((2, 5), REGROUP)
        prune_sizes = np.zeros((2, 3, RING), np.int64)
        prune_runs, kept_runs = np.zeros((2, 5, RING), np.int64), np.zeros((2, 2, RING), np.int64)
        forms, kept_groups = np.zeros((2, 2), FORM), np.zeros((2, 2), REGROUP)
        update_pipe = np.full(size.update_latency + size.prune_latency, -1)
        prune_pipe = np.full(size.prune_latency, -1)
        for unit in range(2):
            for k in range(3):
                wide = size.prune_lanes if unit else size.update_lanes * (2 if k < 2 else 1)
                prune_in[unit, k].room = capacity(max(half, wide))
            for k in range(5):
                wide = half if k > 2 else size.update_lanes * (2 if k < 2 else 1)
                prune_out[unit, k].room = capacity(max(half, wide))
            for k in range(2):
                kept_groups[unit, k].room = capacity(max(16, size.entries))
        reads, writes = np.zeros(1, READ_MASTER), np.zeros(1, WRITE_MASTER)
        windows, memories = np.zeros(1, WINDOW), np.zeros(1, MEMORY)
        stores, fetchers = np.zeros(1, STORER), np.zeros(1, FETCHER)
        reads[0].room, writes[0].ahead, writes[0].done = size.master_beats, 1, -1
        read_chunks, write_chunks = np.zeros((RING, 8), np.int64), np.zeros((RING, 8), np.int64)
        sink, due = np.zeros((RING, 2), np.int64), np.zeros((RING, 2), np.int64)
        ends, answers = np.zeros(RING, np.int64), np.zeros(RING, np.int64)
        lengths, answer_due = np.zeros(RING, np.int64), np.zeros(RING, np.int64)
        loaders = np.zeros(2, LOADER)
        fetchers[0].room, fetchers[0].left, fetchers[0].at = size.fetch_depth, words, program
        until = np.zeros(len(UNITS), np.int64)
        result = np.zeros(len(RESULT), np.int64)

        # When the array wishes for the activations of a step.
        wishes = 0
        state, index, number = _HEADER, 0, 0
        memories[0].takes = 1
        cycle = 0
        while cycle + 1 < most:
            cycle += 1
            # A record does not keep its array: one that is not used any more is gone, and it too.
            read, write, window, memory = reads[0], writes[0], windows[0], memories[0]
            store, fetch, vector = stores[0], fetchers[0], vector_lanes[0]
            # While the array works on, and nothing else moves, all cycles are alike.
            if state == _WAIT and not (
                loaders[0].busy or loaders[1].busy or store.busy or vector.busy
            ):
                still = not (pruners[0].busy or pruners[1].busy)
                still = still and memory.read == memory.reads and read.came == read.aligned
                still = still and not (read.active or read.full or read.rest)
                still = still and read.sink == read.sunk and not readers[0].command
                still = still and not (readers[0].level or readers[0].out or fetch.holds)
                still = still and fetch.out and not (fetch.left and fetch.room >= size.fetch_chunk)
                wanted, soonest = 0, most
                for unit in range(len(UNITS)):
                    if cycle < until[unit]:
                        wanted |= descriptors[number].wait >> unit & 1
                        soonest = min(soonest, until[unit])
                if still and wanted:
                    alike = soonest - cycle
                    result[0] += alike
                    result[2] += alike
                    for unit in range(len(UNITS)):
                        if cycle < until[unit]:
                            result[1 + len(WAITS) + unit] += alike
                    memory.credit = size.cycles + size.beats - 1
                    memory.takes = 1
                    cycle = soonest
            # Who is busy, as registers say.
            busy = 0
            for unit in range(len(UNITS)):
                here = cycle < until[unit]
                if unit < 2:
                    here = loaders[unit].busy != 0
                elif unit == _STORE:
                    here = store.busy != 0
                elif unit == _VECTOR:
                    here = vector.busy != 0
                elif unit > _VECTOR:
                    here = pruners[unit - _UPDATE].busy != 0
                if here:
                    busy |= 1 << unit
                    result[1 + len(WAITS) + unit] += 1

            # What readers may have, before their units take words in this cycle.
            chosen = -1
            if read.came - read.asked != BUFFER:
                chosen = choose(readers, read.served, half, size.chunk_beats)
            fetches = fetch.left and fetch.room >= size.fetch_chunk
            waits = memory.read < memory.reads and due[memory.read % RING, 0] <= cycle + 1
            window_words, window_source = (
                window.words != BUFFER,
                window.came - window.checked != BUFFER,
            )
            # Units, the ends of what is read and the beginnings of what is written.
            for k in range(2):
                unit = loaders[k]
                load_cycle(
                    unit,
                    moves[unit.job],
                    readers[1 + k],
                    regroups[k],
                    regroups[2],
                    granules,
                    1 + k,
                    items,
                    blocks,
                    k == 1,
                    size,
                    cycle,
                )
            takes = fetch.out and state in (_HEADER, _PAYLOAD)
            had_words = fetch.out
            fetch_cycle(fetch, readers[0], granules, size, takes)
            done = write.done

            # Memory and the masters.
            moved = write_cycle(
                write, write_chunks, window, ends, answers, size, memory, lengths, cycle, trace
            )
            write_share(write, write_chunks, writers, window, window_words, window_source, size)
            read_cycle(read, read_chunks, readers, granules, sink, size, memory, due, cycle, trace)
            if chosen >= 0:
                serve(
                    readers[chosen], chosen, read_chunks[read.came % RING], half, size.chunk_beats
                )
                read.came += 1
                read.served = chosen
            memory_cycle(memory, due, lengths, answer_due, size, moved, waits, cycle)
            store_cycle(
                store, moves[store.job], writers[0], regroups[3], items, size, done == 0, cycle
            )
            vector_cycle(
                vector,
                vectors[vector.job],
                vector_reads,
                vector_regroups,
                vector_sizes,
                vector_writes[0],
                vector_regroups[2],
                vector_runs,
                beats,
                pipe,
                readers,
                writers[1],
                granules,
                addresses,
                size,
                done == 1,
                cycle,
            )
            for k in range(2):
                pruner_cycle(
                    pruners[k],
                    prunings[pruners[k].job],
                    k == 1,
                    prune_reads[k],
                    prune_in[k],
                    prune_sizes[k],
                    prune_writes[k],
                    prune_out[k],
                    prune_runs[k],
                    forms[k],
                    kept_groups[k],
                    kept_runs[k],
                    words_of,
                    pieces,
                    prune_pipe if k else update_pipe,
                    readers,
                    writers,
                    granules,
                    addresses,
                    size,
                    done,
                    cycle,
                )

            # Commands.
            for k in range(1, len(readers)):
                ask(readers[k], addresses, cycle, not readers[k].command)
            ask(writers[0], addresses, cycle, not writers[0].command)
            if not readers[0].command and fetches:
                asked = min(fetch.left, size.fetch_chunk)
                readers[0].command, readers[0].at, readers[0].left = 1, fetch.at, 4 * asked - 1
                fetch.at += 4 * asked
                fetch.left -= asked
                fetch.room -= asked

            # The dispatcher.
            result[0] += 1
            if state in (_HEADER, _PAYLOAD):
                result[1] += not had_words
                if had_words and state == _HEADER:
                    index = 0
                    state = _CHECK if descriptors[number].words == 0 else _PAYLOAD
                elif had_words:
                    index += 1
                    if index == descriptors[number].words:
                        state = _CHECK
            elif state == _CHECK:
                state = _WAIT
            elif state == _WAIT:
                if descriptors[number].wait & busy:
                    result[2] += 1
                else:
                    state = _OFFER
            elif state == _OFFER:
                each = descriptors[number]
                taken = True
                if 1 <= each.operation <= 2:
                    unit = loaders[each.operation - 1]
                    taken = not busy >> (each.operation - 1) & 1
                    if taken:
                        job = moves[each.job]
                        unit.busy, unit.job = 1, each.job
                        unit.item, unit.item_end, unit.first = (
                            job.item,
                            job.item + job.items,
                            cycle + 5,
                        )
                        unit.block, unit.block_end = job.block, job.block + job.blocks
                        start_walk(readers[each.operation], job, cycle)
                elif each.operation == _STORES:
                    taken = not busy >> _STORE & 1
                    if taken:
                        job = moves[each.job]
                        store.busy, store.job, store.commands = 1, each.job, job.runs - 1
                        store.item, store.item_end, store.first = (
                            job.item,
                            job.item + job.items,
                            cycle + 7,
                        )
                        store.left = job.length
                        start_walk(writers[0], job, cycle)
                elif each.operation == _PRODUCT:
                    product = products[each.job]
                    for unit in range(_ARRAY, _COLLECT + 1):
                        if product.units >> unit & 1:
                            until[unit] = cycle
                    if product.units >> _ARRAY & 1:
                        wishes = cycle + FIRST_WISH
                    begins = max(wishes, cycle + product.arrives)
                    result[_STALLED] += begins - wishes + product.waits
                    wishes = begins + product.waits + product.cycles
                    end = wishes + AFTER if product.ends else most
                    until[_ARRAY] = end
                    until[_COLLECT] = end + product.collects if product.gives else cycle
                    until[_FEED_A] = until[_FEED_W] = cycle + 1 + product.reads
                elif each.operation == _VECTORS:
                    taken = not busy >> _VECTOR & 1
                    if taken:
                        work = vectors[each.job]
                        vector.busy, vector.job, vector.enters, vector.valid = 1, each.job, 1, 1
                        vector.done = vector.held = vector.passes = vector.rounds = 0
                        if work.takes_a:
                            begin_read(readers[3], work.read_a, work.runs_a, work.length_a, cycle)
                        if work.takes_b or work.held:
                            begin_read(readers[4], work.read_b, work.runs_b, work.length_b, cycle)
                        begin_write(
                            vector_writes[0], writers[1], work.write, work.runs, work.length, cycle
                        )
                elif each.operation > _VECTORS:
                    k = each.operation - _UPDATES
                    taken = not busy >> (_UPDATE + k) & 1
                    if taken:
                        begin_pruner(
                            pruners[k],
                            each.job,
                            prunings[each.job],
                            k == 1,
                            prune_writes[k],
                            readers,
                            writers,
                            prune_pipe if k else update_pipe,
                            cycle,
                        )
                if not taken:
                    result[3] += 1
                elif each.last:
                    state = _END
                else:
                    number += 1
                    state = _HEADER
            elif state == _END:
                if busy:
                    result[4] += 1
                else:
                    state = _DONE
            else:
                return result
        result[0] = -1
        return result

    return run


def _sources() -> int:
    """A sum of all that stands in this folder."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


run = _compiled(_sources())
