"""The update and the prune unit, and the forms on their way to memory."""

from __future__ import annotations

from typing import Any

from nofm.kernels.tiered import helper, integers
from nofm.simulator.chip.queues import AHEAD, BUFFER, ELASTIC, RING, cut
from nofm.simulator.chip.streams import begin_read, begin_write, stream_read, stream_write

PRUNER = integers(
    *("busy", "job", "engine", "place", "tail"),
    # Words of the job: those that streams were asked for, that came to the engine's buffer, that
    # entered it, that left it, and whose updates are on their way to memory.
    *("told", "given", "entered", "left", "written"),
    # Groups of each form that are finished and not taken; of the second one, all that were taken.
    *("rows", "columns", "taken"),
    # Pieces of the second form: the one that is read, its rows behind, whether a group stands at
    # the memory's output, and the one that memory is told of next. Rows of the first form told of.
    *("piece", "row", "stands", "told_piece", "told_rows", "left_rows"),
)

FORM = integers("active", "left", "head", "tail", "words")


@helper
def kept_blocks(
    f: Any, elements: Any, write_room: Any, runs: Any, comes: Any, bits: Any, halves: Any
) -> Any:
    """A cycle of `KeptBlocks`, to which so many kept elements come: words that leave."""
    gives = min(f.words, halves) if write_room else 0
    stands = f.words != 0
    out_ready = not stands or (write_room and f.words <= halves)
    if stands:
        f.words -= gives
    if out_ready and elements.out:
        count = elements.out_count + 1
        f.words = count + (count * bits + 15) // 16
    cut(f, elements, runs, comes, 16, out_ready)
    return gives


@helper
def form(
    f: Any,
    p: Any,
    job: Any,
    of: Any,
    write: Any,
    client: Any,
    elements: Any,
    kept: Any,
    runs: Any,
    kept_runs: Any,
    pieces: Any,
    addresses: Any,
    done: Any,
    size: Any,
    cycle: Any,
) -> Any:
    """A cycle of one of the forms' ways to memory: groups become blocks, and blocks runs."""
    second = of == 1
    # A group comes, if there is one.
    comes = 0
    room = kept.room >= size.entries
    if not second:
        if p.left_rows and p.rows and room:
            comes = job.kept
            p.rows -= 1
            p.left_rows -= 1
    else:
        if p.stands and room:
            comes = job.kept
            p.stands = 0
        left = p.piece < job.piece + job.pieces
        if left and not p.stands and p.taken >= pieces[p.piece, 3]:
            p.stands = 1
            p.row += 1
            if p.row == pieces[p.piece, 2]:
                p.row = 0
                p.piece += 1
        if p.columns:
            p.columns -= 1
            p.taken += 1
    # The next run, which blocks and memory are told of at once.
    run, in_run = -1, -1
    runs_ready = f.tail - f.head != BUFFER
    if runs_ready and not second and p.told_rows < job.form_rows_runs:
        run, in_run = job.form_rows_length, job.rows_kept
    if runs_ready and second and p.told_piece < job.piece + job.pieces:
        run, in_run = pieces[p.told_piece, 1], pieces[p.told_piece, 0]
    words = kept_blocks(
        f, kept, elements.room >= size.halves, kept_runs, comes, job.index_bits, size.halves
    )
    if stream_write(write, client, elements, runs, addresses, words, run, done, size, cycle):
        kept_runs[f.tail % RING] = in_run
        f.tail += 1
        if second:
            p.told_piece += 1
        else:
            p.told_rows += 1


@helper
def pruner_cycle(
    p: Any,
    job: Any,
    prune: Any,
    reads: Any,
    read_regroups: Any,
    read_sizes: Any,
    writes: Any,
    write_regroups: Any,
    write_runs: Any,
    forms: Any,
    kept: Any,
    kept_runs: Any,
    words: Any,
    pieces: Any,
    pipe: Any,
    readers: Any,
    writers: Any,
    granules: Any,
    addresses: Any,
    size: Any,
    done: Any,
    cycle: Any,
) -> Any:
    """A cycle of an `UpdateUnit`, or of a `PruneUnit` (`prune`)."""
    first_reader, first_writer = (8, 4) if prune else (5, 2)
    sources = 1 if prune else 3
    busy = False
    for k in range(5):
        busy |= writes[k].walks or writes[k].under_way != 0
    finished = p.busy and not p.engine and not busy and p.written == p.left

    # The forms, and what is updated, go to memory.
    rows_before = p.rows
    for k in range(2):
        number = first_writer + 3 + k
        form(
            forms[k],
            p,
            job,
            k,
            writes[3 + k],
            writers[number],
            write_regroups[3 + k],
            kept[k],
            write_runs[3 + k],
            kept_runs[k],
            pieces,
            addresses,
            done == number,
            size,
            cycle,
        )
    sink_ready = p.left - p.written != ELASTIC
    counts = 0
    if not prune and p.written < p.left:
        room = True
        for k in range(3):
            room = room and write_regroups[k].room >= (2 if k < 2 else 1) * size.update_lanes
        if room:
            counts = words[p.written, 0]
            p.written += 1
    for k in range(3):
        if prune:
            break
        comes = counts * (2 if k < 2 else 1) if k < 2 or job.halves else 0
        run = -1
        if p.busy:
            run = job.new_weight_length
            if k == 1:
                run = job.new_momentum_length
            elif k == 2:
                run = job.half_length
        number = first_writer + k
        stream_write(
            writes[k],
            writers[number],
            write_regroups[k],
            write_runs[k],
            addresses,
            comes,
            run,
            done == number,
            size,
            cycle,
        )

    # The engine: a word enters in each cycle in which it goes on, while there are any.
    end = job.word + job.words
    enters = p.entered < end
    there = p.entered < p.given
    goes = p.engine and (there or not enters) and sink_ready and rows_before <= 3 * job.columns
    source_ready = p.given - p.entered != ELASTIC
    if goes:
        pipe[p.place] = p.entered if enters else -1
        p.entered += enters
        length = len(pipe)
        if not prune:
            old = pipe[(p.place + length - size.update_latency) % length]
            if old >= 0:
                p.left += 1
        p.place = (p.place + 1) % length
        old = pipe[p.place]
        pipe[p.place] = -1
        if old >= 0 and job.pruned:
            p.rows += words[old, 1]
            p.columns += words[old, 2]
        if not enters:
            p.tail -= 1
            p.engine = p.tail > 0
        if prune:
            p.left = p.written = p.entered

    # Words come to it.
    some = p.given < p.told and words[p.given, 0] > 0
    whole = True
    for k in range(sources):
        whole = whole and read_regroups[k].out
    comes = p.given < p.told and source_ready and (whole or not some)
    leaves = comes and some
    asks = p.busy and p.told < end and p.told - p.given != AHEAD
    for k in range(sources):
        asks = asks and reads[k].tail - reads[k].head != BUFFER
    for k in range(sources):
        asked = -1
        if asks and words[p.told, 0] > 0:
            asked = words[p.told, 0] * (2 if k < sources - 1 else 1) - 1
        stream_read(
            reads[k],
            readers[first_reader + k],
            read_regroups[k],
            read_sizes[k],
            granules,
            first_reader + k,
            size.halves,
            asked,
            leaves,
        )
    p.given += comes
    p.told += asks
    if finished:
        p.busy = 0


@helper
def begin_pruner(
    p: Any,
    number: Any,
    job: Any,
    prune: Any,
    writes: Any,
    readers: Any,
    writers: Any,
    pipe: Any,
    cycle: Any,
) -> Any:
    """A job of an update or a prune unit is taken."""
    p.busy, p.job, p.engine, p.place = 1, number, 1, 0
    p.told = p.given = p.entered = p.left = p.written = job.word
    p.tail = len(pipe) + 1
    pipe[:] = -1
    p.rows = p.columns = p.taken = p.row = p.stands = p.told_rows = 0
    p.piece = p.told_piece = job.piece
    p.left_rows = job.row_groups if job.pruned else 0
    if prune:
        begin_read(readers[8], job.gradient_first, job.gradient_runs, job.gradient_length, cycle)
    else:
        begin_read(readers[5], job.weight_first, job.weight_runs, job.weight_length, cycle)
        begin_read(readers[6], job.momentum_first, job.momentum_runs, job.momentum_length, cycle)
        begin_read(readers[7], job.gradient_first, job.gradient_runs, job.gradient_length, cycle)
        begin_write(
            writes[0],
            writers[2],
            job.new_weight_first,
            job.new_weight_runs,
            job.new_weight_length,
            cycle,
        )
        begin_write(
            writes[1],
            writers[3],
            job.new_momentum_first,
            job.new_momentum_runs,
            job.new_momentum_length,
            cycle,
        )
        if job.halves:
            begin_write(
                writes[2], writers[4], job.half_first, job.half_runs, job.half_length, cycle
            )
    first = 4 if prune else 2
    if job.pruned:
        begin_write(
            writes[3],
            writers[first + 3],
            job.form_rows_first,
            job.form_rows_runs,
            job.form_rows_length,
            cycle,
        )
    if job.pruned and job.both:
        begin_write(
            writes[4],
            writers[first + 4],
            job.form_columns_first,
            job.form_columns_runs,
            job.form_columns_length,
            cycle,
        )
