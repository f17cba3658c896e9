"""A chip's programs, cycle by cycle: control, loads and stores, their way to memory and back.

What moves is counted, not computed: queues have levels, runs have addresses, and nothing has
values. Each part below stands for the unit of the same name of `nofm.rtl.chip` and `nofm.rtl.axi`,
register by register, so cycles are the hardware's and no constant is fitted. In every cycle parts
are stepped from memory's end of a stream to its beginning: what one leaves in a queue is seen by
the next one in the next cycle, as through a register.

The array with its feeders is one part, whose jobs come with the cycles that the array takes for
them (`nofm.simulator.timing`), and so are the units for vectors, updates and forms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.tiered import JIT_OPTIONS, helper, integers

Array = np.ndarray[Any, Any]

UNITS = (
    "load_activations",
    "load_weights",
    "array",
    "feed_activations",
    "feed_weights",
    "collect",
    "store",
    "vector",
    "update",
    "prune",
)
"""Units in the order of their bits in a descriptor's `wait`."""

READERS = (
    "program",
    "load_activations",
    "load_weights",
    "vector_a",
    "vector_b",
    "update_weight",
    "update_momentum",
    "update_gradient",
    "prune_dense",
)
"""Clients that read memory, in the order of their turns."""

WRITERS = (
    "store",
    "vector_result",
    "update_new_weight",
    "update_new_momentum",
    "update_half",
    "update_rows",
    "update_columns",
    "prune_rows",
    "prune_columns",
)
"""Clients that write memory, in the order of their turns."""

WAITS = ("words", "idle", "unit", "end")
"""What the dispatcher waits for."""


MACHINE = integers(
    "halves",
    "most_results",
    "kept_ways",
    "fetch_depth",
    "fetch_chunk",
    "latency",
    "beats",
    "cycles",
    "outstanding",
    "chunk_beats",
    "client_beats",
    "master_beats",
    "unpack_room",
    "vector_lanes",
    "vector_latency",
    "update_lanes",
    "update_latency",
    "prune_latency",
    "prune_lanes",
    "entries",
)
"""A chip and its memory.

halves: FP16 elements of a beat. most_results: results that a store reads at once.
kept_ways: blocks of kept elements that a load takes at once.
fetch_depth, fetch_chunk: words of the program's queue, and of a command for it.
latency: cycles from an address to its first beat, and from a write's last beat to its answer.
beats, cycles: so many beats move in so many cycles, read and written together.
outstanding: bursts of a kind under way at most.
chunk_beats: beats of a chunk, and of a burst. client_beats, master_beats: of queues.
"""

DESCRIPTOR = integers("words", "wait", "operation", "job", "last")
"""words: of the payload. wait: units that must be idle, a bit each. operation: its number among
`OPERATIONS`. job: number of its job. last: whether the program ends with it."""

OPERATIONS = ("barrier", "load_activations", "load_weights", "product", "store") + UNITS[7:]

PRUNING_STREAMS = (
    *("weight", "momentum", "gradient"),
    *("new_weight", "new_momentum", "half", "form_rows", "form_columns"),
)
"""Streams of an update job; a prune job has the third and the last two."""

MOVE = integers("run", "runs", "length", "item", "items", "block", "blocks")
"""A load or a store. run, runs: first of its `addresses`, and how many. length: FP16 elements of
each, less one. item, items: pieces that a load writes, or rows that a store reads: first one's
place among `items`, and how many. block, blocks: likewise of a weight load's `blocks`."""

PRODUCT = integers("units", "arrives", "waits", "cycles", "ends", "gives", "collects", "reads")
"""A step of the array's job. units: those that get a job, a bit each. arrives: cycles from the step
to its first activations' being there. waits: cycles that the array waits beside, for banks or first
weights. cycles: from its taking the first activations to its wish for those of the next step, or to
its end. ends: whether the array's job does. gives: whether it has results. collects: cycles from the array's
end to the collector's. reads: cycles of the activations' feeder."""

RESULT = (
    "cycles",
    *(f"waits_{name}" for name in WAITS),
    *(f"busy_{name}" for name in UNITS),
    "array_stalled",
)
"""What a run gives, in cycles: of the program; in which the dispatcher waits; in which units have a
job (that of the weights' feeder is taken as that of the activations'); in which the array waits for
operands."""

FIRST_WISH = 2
"""Cycles from the array's taking a job to its wish for activations, which then are on their way."""

AFTER = 2
"""Cycles of the array's job beside those from its first activations on."""

RING = 1024
"""Places of a ring of things under way: more than can be."""

BUFFER = 4
"""Places of a queue between a stream and a unit."""

ELASTIC = 4
"""Places of a queue before or behind an engine."""

AHEAD = 8
"""Beats on their way to the lanes of the vector and the update unit."""

# Numba sees no strings: numbers of what is named above.
_LOAD_A, _LOAD_W, _ARRAY, _FEED_A, _FEED_W, _COLLECT, _STORE, _VECTOR, _UPDATE, _PRUNE = range(10)
_STALLED = len(RESULT) - 1
_BARRIER, _PRODUCT, _STORES, _VECTORS, _UPDATES, _PRUNES = 0, 3, 4, 5, 6, 7

CLIENT = integers(
    # The walk over runs: next one, end, cycle from which on they come, elements less one.
    *("run", "end", "first", "length"),
    # The command that is cut into chunks: whether there is one, its address, what is left.
    *("command", "at", "left"),
    # Words of its queue that are not asked for (read) or not taken (write); the queue's level, the
    # register behind it, and all words that left and came.
    *("room", "level", "out", "left_words", "came"),
)

VECTOR = integers(
    *(
        "run",
        "passes",
        "rounds",
        "held",
        "takes_a",
        "takes_b",
        "gives",
        "reduces",
        "writes",
        "rest",
    ),
    *("read_a", "runs_a", "length_a", "read_b", "runs_b", "length_b"),
    *("write", "runs", "length"),
)
"""A vector job. run, passes, rounds: elements of a run, passes of a round, rounds. held: runs that a
round begins with. takes_a, takes_b, gives: whether a pass takes a run of the streams. reduces:
whether only a round's last pass gives one. writes: whether passes write to the line. rest: cycles
from one run that does to the next. read_..., runs_..., length_...: first of a stream's `addresses`,
how many, and FP16 elements of each, less one; write, runs, length: of the results."""

PRUNING = integers(
    *("word", "words", "columns", "kept", "both", "pruned", "halves"),
    *("index_bits", "rows_kept", "row_groups", "piece", "pieces"),
    *(f"{name}_{what}" for name in PRUNING_STREAMS for what in ("first", "runs", "length")),
)
"""An update or a prune job. word, words: first of its `words`, and how many. columns: of a slot.
kept: of a group. both, pruned, halves: whether there are second forms, any, and FP16 weights.
index_bits: of an index in memory. rows_kept: kept elements of a run of the first form, less one.
row_groups: its groups. piece, pieces: first of its `pieces`, and how many. Of every stream the first
of its `addresses`, how many, and FP16 elements of each, less one."""

REGROUP = integers(
    *("room", "written", "level"),
    # The group on its way out, and the one that stands there.
    *("full", "full_with", "full_count", "out", "out_with", "out_count"),
)

READ_MASTER = integers(
    # All chunks that came, that left the source, and that the alignment took.
    *("came", "asked", "aligned"),
    # The burst that is next: whether there is one, its beat in the window, beats left of the chunk.
    *("burst", "place", "left"),
    *("room", "under_way", "beats", "beats_out"),
    # The chunk that beats are taken for: whether there is one, beats left behind this one.
    *("active", "chunk", "first", "more"),
    # A beat that was turned; a word that is left of the one before it.
    *("full", "now", "now_first", "now_last", "rest", "rest_of"),
    # Words on their way to the clients: all that left and came.
    *("sink", "sunk"),
    "served",
)

WRITE_MASTER = integers(
    *("came", "left_source", "left_waiting"),
    *("burst", "chunk", "place", "left"),
    *("whole", "ahead", "beats", "beats_out", "beats_left", "beats_came"),
    # The chunk that words are taken for: beats left behind this one, place in the burst.
    *("active", "aligns", "first", "more", "align_place"),
    *("full", "now_ends", "words", "answers_left", "answers_came"),
    # The owner of the command that memory has answered, or -1; who was served last.
    *("done", "served"),
)

WINDOW = integers(
    # All chunks that came, that were checked, that left, and whose words have all left.
    *("came", "checked", "left", "through"),
    # Words of the chunk that left, and those that wait here.
    *("count", "words"),
    # Chunks whose words are on their way here, and how many words were sent of the next one.
    *("goes", "sent"),
)

MEMORY = integers(
    *("credit", "offers", "takes", "reads_wait"),
    # Beats that are to be read: all that left and came. Bursts to write: likewise, and their beats.
    *("read", "reads", "written", "writes", "beats", "answers_left", "answers", "answer"),
)

# What is known of a chunk.
_OWNER, _WORDS, _BEATS, _OFFSET, _COMPLETES, _ENDS, _TAIL, _START = range(8)


@helper
def _chunk_words(client: Any, halves: Any, chunk_beats: Any) -> Any:
    """Words of the chunk that a client's command has next."""
    return min(chunk_beats - client.at // halves % chunk_beats, client.left // halves + 1)


@helper
def _choose(clients: Any, last: Any, halves: Any, chunk_beats: Any) -> Any:
    """The first client behind the last one that has a chunk which it may have now, or -1."""
    for k in range(len(clients)):
        number = (last + 1 + k) % len(clients)
        each = clients[number]
        if each.command and _chunk_words(each, halves, chunk_beats) <= each.room:
            return number
    return -1


@helper
def _serve(client: Any, number: Any, chunk: Any, halves: Any, chunk_beats: Any) -> Any:
    """Cut a chunk off a client's command; it has room for it."""
    words = _chunk_words(client, halves, chunk_beats)
    length = min(client.left, words * halves - 1)
    offset = client.at % halves
    chunk[_OWNER], chunk[_WORDS], chunk[_OFFSET] = number, words, offset
    chunk[_BEATS] = (offset + length) // halves + 1
    chunk[_COMPLETES] = length % halves + offset >= halves
    chunk[_ENDS] = length == client.left
    chunk[_TAIL] = length % halves
    chunk[_START] = client.at // halves % chunk_beats
    client.at += length + 1
    client.left -= length + 1
    client.room -= words
    client.command = not chunk[_ENDS]


@helper
def _ask(client: Any, addresses: Any, cycle: Any, ready: Any) -> Any:
    """The walk's next run becomes a command if `ready`; whether it did."""
    if not ready or client.run >= client.end or cycle < client.first:
        return False
    client.command, client.at, client.left = 1, addresses[client.run], client.length
    client.run += 1
    return True


@helper
def _leave(client: Any, ready: Any) -> Any:
    """A cycle at the end of a client's queue, which is deep: whether a word leaves."""
    leaves = client.out and ready
    pops = client.level > 0 and (ready or not client.out)
    client.level -= pops
    client.out = pops or (client.out and not ready)
    client.left_words += leaves
    return leaves


@helper
def _regroup(r: Any, comes: Any, size: Any, beside: Any, out_ready: Any) -> Any:
    """A cycle of a `Regroup`: whether a size is taken.

    Args:
        comes: elements that come.
        size: elements of the next group, less one, or -1.
        beside: what goes with it.
        out_ready: whether a group that stands at the output leaves.
    """
    step = r.full and (not r.out or out_ready)
    takes = size >= 0 and r.level > size and (not r.full or step)
    leaves = size + 1 if takes else 0
    r.room += leaves - comes
    r.level += r.written - leaves
    r.written = comes
    if step:
        r.out, r.out_with, r.out_count = 1, r.full_with, r.full_count
    elif out_ready:
        r.out = 0
    if takes:
        r.full, r.full_with, r.full_count = 1, beside, size
    elif step:
        r.full = 0
    return takes


@helper
def _capacity(most: Any) -> Any:
    """Elements that a `Regroup` holds, of which so many come or leave at once at most."""
    lanes = 2
    while lanes < most:
        lanes *= 2
    return 4 * lanes


@helper
def _next_burst(m: Any, chunk: Any) -> Any:
    """The first burst of a chunk."""
    m.burst, m.place, m.left = 1, chunk[_START], chunk[_BEATS]


@helper
def _take_burst(m: Any, chunk_beats: Any) -> Any:
    """The next burst leaves: its beats."""
    beats = min(chunk_beats - m.place, m.left)
    m.place = 0
    m.left -= beats
    m.burst = m.left > 0
    return beats


@helper
def _read_words(m: Any, chunks: Any, clients: Any, granules: Any, sink: Any, halves: Any) -> Any:
    """Beats of memory become words in their clients' queues; whether a beat did."""
    ready = m.sunk - m.sink != BUFFER
    if m.sink < m.sunk:
        owner, count = sink[m.sink % RING]
        client = clients[owner]
        granules[owner, client.came % RING] = count
        client.came += 1
        client.level += 1
        m.sink += 1
    now = chunks[m.now % RING]
    whole = now[_OFFSET] == 0 or (m.now_first and m.now_last)
    fills = m.now_first and not whole
    if fills:
        step = m.full and (not m.rest or ready)
    else:
        step = m.full and not m.rest and ready
    if (m.rest or (m.full and not fills)) and ready:
        of = chunks[m.rest_of % RING] if m.rest else now
        last = m.rest or (m.now_last and (whole or now[_COMPLETES]))
        sink[m.sunk % RING, 0] = of[_OWNER]
        sink[m.sunk % RING, 1] = of[_TAIL] if last else halves - 1
        m.sunk += 1
    if step and m.now_last and not whole and not now[_COMPLETES]:
        m.rest, m.rest_of = 1, m.now
    elif ready:
        m.rest = 0
    takes = m.active and m.beats_out and (not m.full or step)
    ends = takes and m.more == 0
    if takes:
        m.full, m.now, m.now_first, m.now_last = 1, m.chunk, m.first, ends
        m.first = 0
        m.more -= 1
    elif step:
        m.full = 0
    pops = m.beats > 0 and (takes or not m.beats_out)
    m.beats -= pops
    m.beats_out = pops or (m.beats_out and not takes)
    if not m.active or ends:
        m.active = m.aligned < m.asked
        if m.active:
            m.chunk, m.first = m.aligned, 1
            m.more = chunks[m.chunk % RING, _BEATS] - 1
            m.aligned += 1
    return takes


@helper
def _read(
    m: Any,
    chunks: Any,
    clients: Any,
    granules: Any,
    sink: Any,
    size: Any,
    memory: Any,
    due: Any,
    cycle: Any,
    trace: Any,
) -> Any:
    """A cycle of a `ReadMaster`, and of memory's read channels but for the next beat's offer."""
    waits = m.asked - m.aligned != size.outstanding + 2
    takes = _read_words(m, chunks, clients, granules, sink, size.halves)
    came_last = False
    if memory.offers:
        m.beats += 1
        came_last = due[memory.read % RING, 1] == 1
        memory.read += 1
        _note(trace, 1, cycle)
    asks = m.burst and m.room >= size.chunk_beats and m.under_way != size.outstanding
    beats = 0
    had = m.burst
    if asks:
        _note(trace, 0, cycle)
        beats = _take_burst(m, size.chunk_beats)
        for beat in range(beats):
            due[memory.reads % RING, 0] = cycle + size.latency
            due[memory.reads % RING, 1] = beat == beats - 1
            memory.reads += 1
    if m.came > m.asked and waits and (not had or (asks and not m.burst)):
        _next_burst(m, chunks[m.asked % RING])
        m.asked += 1
    m.room += takes - beats
    m.under_way += asks - came_last


@helper
def _write(
    m: Any,
    chunks: Any,
    window: Any,
    ends: Any,
    answers: Any,
    size: Any,
    memory: Any,
    lengths: Any,
    cycle: Any,
    trace: Any,
) -> Any:
    """A cycle of a `WriteMaster`, and of memory's write channels but for what comes next."""
    source_ready = m.came - m.left_source != BUFFER
    waits = m.left_source - m.left_waiting != size.outstanding + 2
    words_ready = m.words != BUFFER
    beats_ready = m.beats != size.master_beats
    # B.
    room = m.answers_came - m.answers_left != size.outstanding
    m.done = -1
    if memory.answer:
        m.done = answers[m.answers_left % RING]
        m.answers_left += 1
        memory.answer = 0
        _note(trace, 4, cycle)
    # AW.
    asks = m.burst and m.whole != 0 and room
    had = m.burst
    if asks:
        chunk = chunks[m.chunk % RING]
        lengths[memory.writes % RING] = _take_burst(m, size.chunk_beats)
        memory.writes += 1
        ended = not m.burst and chunk[_ENDS]
        answers[m.answers_came % RING] = chunk[_OWNER] if ended else -1
        m.answers_came += 1
        _note(trace, 2, cycle)
    # W.
    moves = m.beats_out and (m.ahead > 1 or (m.ahead == 1 and asks)) and memory.takes
    sent = moves and ends[m.beats_left % RING]
    if moves:
        m.beats_left += 1
        memory.beats += 1
        _note(trace, 3, cycle)
    pops = m.beats > 0 and (moves or not m.beats_out)
    m.beats -= pops
    m.beats_out = pops or (m.beats_out and not moves)
    # Words become beats.
    step = m.full and beats_ready
    if step:
        ends[m.beats_came % RING] = m.now_ends
        m.beats_came += 1
        m.beats += 1
    m.whole += (step and m.now_ends) - asks
    m.ahead += asks - sent
    aligned = chunks[m.aligns % RING]
    final = m.more == 0
    needs = not (final and aligned[_COMPLETES])
    takes = m.active and (m.words > 0 or not needs) and (not m.full or step)
    if takes:
        m.words -= needs
        m.full = 1
        m.now_ends = final or m.align_place == size.chunk_beats - 1
        m.align_place = (m.align_place + 1) % size.chunk_beats
        m.more -= 1
    elif step:
        m.full = 0
    if (not had or (asks and not m.burst)) and m.left_waiting < m.left_source:
        m.chunk = m.left_waiting
        _next_burst(m, chunks[m.chunk % RING])
        m.left_waiting += 1
    if not m.active or (takes and final):
        m.active = m.came > m.left_source and waits
        if m.active:
            m.aligns = m.left_source
            m.more = chunks[m.aligns % RING, _BEATS] - 1
            m.align_place = chunks[m.aligns % RING, _START]
            m.left_source += 1
    # The window.
    checked_ready = window.checked - window.left != BUFFER
    waiting_ready = window.checked - window.through != BUFFER
    if window.words and window.through < window.checked and words_ready:
        window.words -= 1
        m.words += 1
        window.count += 1
        if window.count == chunks[window.through % RING, _WORDS]:
            window.count = 0
            window.through += 1
    if window.left < window.checked and source_ready:
        window.left += 1
        m.came += 1
    if window.checked < window.came and checked_ready and waiting_ready:
        window.checked += 1
    return moves


@helper
def _write_share(
    m: Any, chunks: Any, clients: Any, window: Any, words_ready: Any, source_ready: Any, size: Any
) -> Any:
    """Words and chunks of the clients come to the window."""
    goes_ready = window.came - window.goes != BUFFER
    owner = -1
    if window.goes < window.came:
        owner = chunks[window.goes % RING, _OWNER]
    for number in range(len(clients)):
        if _leave(clients[number], number == owner and words_ready):
            window.words += 1
            window.sent += 1
            if window.sent == chunks[window.goes % RING, _WORDS]:
                window.sent = 0
                window.goes += 1
    if source_ready and goes_ready:
        number = _choose(clients, m.served, size.halves, size.chunk_beats)
        if number >= 0:
            chunk = chunks[window.came % RING]
            _serve(clients[number], number, chunk, size.halves, size.chunk_beats)
            window.came += 1
            m.served = number


@helper
def _note(trace: Any, channel: Any, cycle: Any) -> Any:
    """Keep when something moved on AR, R, AW, W or B."""
    count = trace[channel, 0]
    if count + 1 < trace.shape[1]:
        trace[channel, count + 1] = cycle
    trace[channel, 0] = count + 1


@helper
def _memory(
    memory: Any,
    due: Any,
    lengths: Any,
    answer_due: Any,
    size: Any,
    moved: Any,
    waits: Any,
    cycle: Any,
) -> Any:
    """What memory offers and takes in the next cycle.

    Args:
        moved: whether a beat was written in this cycle.
        waits: whether a beat that is read waited at its beginning.
    """
    memory.credit = min(memory.credit + size.beats, size.cycles + size.beats - 1)
    memory.takes = memory.credit >= size.cycles and not waits
    if moved:
        memory.credit -= size.cycles
    while memory.written < memory.writes and memory.beats >= lengths[memory.written % RING]:
        memory.beats -= lengths[memory.written % RING]
        memory.written += 1
        answer_due[memory.answers % RING] = cycle + size.latency
        memory.answers += 1
    memory.offers = (
        memory.read < memory.reads
        and due[memory.read % RING, 0] <= cycle + 1
        and memory.credit >= size.cycles
    )
    if memory.offers:
        memory.credit -= size.cycles
    if memory.answers_left < memory.answers:
        if answer_due[memory.answers_left % RING] <= cycle + 1:
            memory.answer = 1
            memory.answers_left += 1


LOADER = integers(
    "busy",
    "job",
    # The cycle in which the job was taken.
    "taken",
    # Pieces: the next one, their end, and the cycle from which on they come.
    *("item", "item_end", "first"),
    # Blocks of kept elements, and those that stand behind their unpacking.
    *("block", "block_end", "unpacked"),
)

STORER = integers(
    *("busy", "job", "commands"),
    *("item", "item_end", "first"),
    # Results that are read, that were, and those of the run that no word was asked for, less one.
    *("reads", "came", "left"),
)

FETCHER = integers("at", "left", "room", "level", "out", "holds")


@helper
def _start_walk(client: Any, job: Any, cycle: Any) -> Any:
    """A job's runs, from a walker's latency on."""
    client.run, client.end = job.run, job.run + job.runs
    client.first, client.length = cycle + 3, job.length


@helper
def _load(
    unit: Any,
    job: Any,
    client: Any,
    elements: Any,
    blocks_of: Any,
    granules: Any,
    owner: Any,
    items: Any,
    blocks: Any,
    weights: Any,
    size: Any,
    cycle: Any,
) -> Any:
    """A cycle of a `Loader`, whose words come from the queue of `client`."""
    halves = size.halves
    finish = elements.out and elements.out_with
    item = -1
    if unit.item < unit.item_end and cycle >= unit.first:
        item = items[unit.item]
    comes = 0
    if not weights:
        if _leave(client, elements.room >= halves):
            comes = granules[owner, (client.left_words - 1) % RING] + 1
            client.room += 1
    else:
        most = size.kept_ways * 16
        ready = elements.room >= most
        if unit.unpacked and ready:
            comes = unit.unpacked
        step = not unit.unpacked or ready
        if step:
            unit.unpacked = blocks_of.out_with if blocks_of.out else 0
        halves_in = 0
        if _leave(client, blocks_of.room >= halves):
            halves_in = granules[owner, (client.left_words - 1) % RING] + 1
            client.room += 1
        block = -1
        beside = 0
        if unit.block < unit.block_end and cycle > unit.taken:
            block, beside = blocks[unit.block, 0], blocks[unit.block, 1]
        unit.block += _regroup(blocks_of, halves_in, block, beside, step)
    unit.item += _regroup(elements, comes, item, unit.item + 1 == unit.item_end, True)
    if finish:
        unit.busy = 0


@helper
def _store(
    unit: Any, job: Any, client: Any, results: Any, items: Any, size: Any, done: Any, cycle: Any
) -> Any:
    """A cycle of a `Storer`, whose words go to the queue of `client`."""
    most, halves = size.most_results, size.halves
    if done:
        if unit.commands == 0:
            unit.busy = 0
        unit.commands -= 1
    ready = client.level != size.client_beats
    if results.out and ready:
        client.level += 1
        client.room += 1
    room = results.room >= most
    step = not unit.came or room
    comes = unit.came if room else 0
    words = min(unit.left, halves - 1)
    if _regroup(results, comes, words, 0, ready):
        unit.left = job.length if unit.left < halves else unit.left - halves
    if step:
        unit.came = unit.reads
        unit.reads = 0
        if unit.item < unit.item_end and cycle >= unit.first:
            unit.reads = items[unit.item]
            unit.item += 1


@helper
def _fetch(f: Any, client: Any, granules: Any, size: Any, takes: Any) -> Any:
    """A cycle of the `Fetcher`: what leaves its queue, and what comes to it."""
    ready = f.level != size.fetch_depth
    pops = f.level > 0 and (takes or not f.out)
    f.level -= pops
    f.out = pops or (f.out and not takes)
    f.room += takes
    if size.halves == 4:
        if _leave(client, ready):
            client.room += 1
            f.level += 1
        return
    holds = f.holds
    if holds and ready:
        f.level += 1
        f.holds -= 1
    if _leave(client, not holds):
        client.room += 1
        f.holds = (granules[0, (client.left_words - 1) % RING] + 1) // 4


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
def _stream_read(
    s: Any,
    client: Any,
    regroup: Any,
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
    if _leave(client, regroup.room >= halves):
        comes = granules[owner, (client.left_words - 1) % RING] + 1
        client.room += 1
    s.head += _regroup(regroup, comes, asked, 0, out_ready)
    if size >= 0:
        sizes[s.tail % RING] = size
        s.tail += 1


@helper
def _stream_write(
    w: Any,
    client: Any,
    regroup: Any,
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
    if regroup.out and ready:
        client.level += 1
        client.room += 1
    ends = w.left < halves
    asked = min(w.left, halves - 1) if w.active else -1
    asks = _regroup(regroup, comes, asked, 0, ready)
    there = w.head < w.tail
    if there and (not w.active or (asks and ends)):
        w.active, w.left = 1, runs[w.head % RING]
        w.head += 1
    elif asks:
        w.active = not ends
        w.left -= halves
    takes = False
    if run >= 0 and runs_ready and not client.command:
        if client.run < client.end and cycle >= client.first:
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
def _vector(
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
    _stream_read(
        reads[0], readers[3], regroups[0], sizes[0], granules, 3, half, asked_a, takes and takes_a
    )
    _stream_read(
        reads[1], readers[4], regroups[1], sizes[1], granules, 4, half, asked_b, takes and takes_b
    )
    run = job.length if v.busy else -1
    _stream_write(
        write, writer, write_regroup, write_runs, addresses, comes, run, done, size, cycle
    )
    if finished:
        v.busy = 0


@helper
def _begin_write(write: Any, client: Any, first: Any, runs: Any, length: Any, cycle: Any) -> Any:
    """A stream is written from the next cycle on."""
    write.walks = 1
    client.run, client.end, client.first, client.length = first, first + runs, cycle + 3, length


@helper
def _begin_read(client: Any, first: Any, runs: Any, length: Any, cycle: Any) -> Any:
    """A stream is read from the next cycle on."""
    client.run, client.end, client.first, client.length = first, first + runs, cycle + 3, length


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
def _kept_blocks(
    f: Any, regroup: Any, write_room: Any, runs: Any, comes: Any, bits: Any, halves: Any
) -> Any:
    """A cycle of `KeptBlocks`, to which so many kept elements come: words that leave."""
    gives = min(f.words, halves) if write_room else 0
    stands = f.words != 0
    out_ready = not stands or (write_room and f.words <= halves)
    if stands:
        f.words -= gives
    if out_ready and regroup.out:
        count = regroup.out_count + 1
        f.words = count + (count * bits + 15) // 16
    ends = f.left < 16
    asked = min(f.left, 15) if f.active else -1
    asks = _regroup(regroup, comes, asked, 0, out_ready)
    there = f.head < f.tail
    if there and (not f.active or (asks and ends)):
        f.active, f.left = 1, runs[f.head % RING]
        f.head += 1
    elif asks:
        f.active = not ends
        f.left -= 16
    return gives


@helper
def _form(
    f: Any,
    p: Any,
    job: Any,
    of: Any,
    write: Any,
    client: Any,
    regroup: Any,
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
        if not p.stands and p.piece < job.piece + job.pieces:
            if p.taken >= pieces[p.piece, 3]:
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
    words = _kept_blocks(
        f, kept, regroup.room >= size.halves, kept_runs, comes, job.index_bits, size.halves
    )
    if _stream_write(write, client, regroup, runs, addresses, words, run, done, size, cycle):
        kept_runs[f.tail % RING] = in_run
        f.tail += 1
        if second:
            p.told_piece += 1
        else:
            p.told_rows += 1


@helper
def _pruner(
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
        _form(
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
        _stream_write(
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
        _stream_read(
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
def _begin_pruner(
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
        _begin_read(readers[8], job.gradient_first, job.gradient_runs, job.gradient_length, cycle)
    else:
        _begin_read(readers[5], job.weight_first, job.weight_runs, job.weight_length, cycle)
        _begin_read(readers[6], job.momentum_first, job.momentum_runs, job.momentum_length, cycle)
        _begin_read(readers[7], job.gradient_first, job.gradient_runs, job.gradient_length, cycle)
        _begin_write(
            writes[0],
            writers[2],
            job.new_weight_first,
            job.new_weight_runs,
            job.new_weight_length,
            cycle,
        )
        _begin_write(
            writes[1],
            writers[3],
            job.new_momentum_first,
            job.new_momentum_runs,
            job.new_momentum_length,
            cycle,
        )
        if job.halves:
            _begin_write(
                writes[2], writers[4], job.half_first, job.half_runs, job.half_length, cycle
            )
    first = 4 if prune else 2
    if job.pruned:
        _begin_write(
            writes[3],
            writers[first + 3],
            job.form_rows_first,
            job.form_rows_runs,
            job.form_rows_length,
            cycle,
        )
    if job.pruned and job.both:
        _begin_write(
            writes[4],
            writers[first + 4],
            job.form_columns_first,
            job.form_columns_runs,
            job.form_columns_length,
            cycle,
        )


_IDLE, _HEADER, _PAYLOAD, _CHECK, _WAIT, _OFFER, _END, _DONE = range(8)


@njit(cache=True, nogil=True, **JIT_OPTIONS)
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
        words_of: words of their engines: columns, and groups of both forms that end with it [., 3].
        pieces: of second forms: kept elements, less one, FP16 elements, less one, rows, and groups
            that must have been taken before [., 4].
        addresses: of runs, FP16 elements, int64.
        items: elements of a load's pieces, or a store's rows, less one (rows: as they are).
        blocks: FP16 elements and kept ones of a weight load's blocks, the first less one [., 2].
        most: cycles to give up after.
        trace: int64 [5, n]: how often AR, R, AW, W and B moved, and in which cycles.

    Returns:
        `RESULT`, int64; `cycles` is -1 where the program did not end.
    """
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
        regroups[k].room = _capacity(max(comes, goes))
    regroups[2].room = size.unpack_room
    vector_regroups = np.zeros(3, REGROUP)
    for each in vector_regroups:
        each.room = _capacity(max(half, size.vector_lanes))
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
            prune_in[unit, k].room = _capacity(max(half, wide))
        for k in range(5):
            wide = half if k > 2 else size.update_lanes * (2 if k < 2 else 1)
            prune_out[unit, k].room = _capacity(max(half, wide))
        for k in range(2):
            kept_groups[unit, k].room = _capacity(max(16, size.entries))
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
    for cycle in range(1, most):
        # A record does not keep its array: one that is not used any more is gone, and it too.
        read, write, window, memory = reads[0], writes[0], windows[0], memories[0]
        store, fetch, vector = stores[0], fetchers[0], vector_lanes[0]
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
            chosen = _choose(readers, read.served, half, size.chunk_beats)
        fetches = fetch.left and fetch.room >= size.fetch_chunk
        waits = memory.read < memory.reads and due[memory.read % RING, 0] <= cycle + 1
        window_words, window_source = window.words != BUFFER, window.came - window.checked != BUFFER
        # Units, the ends of what is read and the beginnings of what is written.
        for k in range(2):
            unit = loaders[k]
            _load(
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
        takes = fetch.out and (state == _HEADER or state == _PAYLOAD)
        had_words = fetch.out
        _fetch(fetch, readers[0], granules, size, takes)
        done = write.done

        # Memory and the masters.
        moved = _write(
            write, write_chunks, window, ends, answers, size, memory, lengths, cycle, trace
        )
        _write_share(write, write_chunks, writers, window, window_words, window_source, size)
        _read(read, read_chunks, readers, granules, sink, size, memory, due, cycle, trace)
        if chosen >= 0:
            _serve(readers[chosen], chosen, read_chunks[read.came % RING], half, size.chunk_beats)
            read.came += 1
            read.served = chosen
        _memory(memory, due, lengths, answer_due, size, moved, waits, cycle)
        _store(store, moves[store.job], writers[0], regroups[3], items, size, done == 0, cycle)
        _vector(
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
            _pruner(
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
            _ask(readers[k], addresses, cycle, not readers[k].command)
        _ask(writers[0], addresses, cycle, not writers[0].command)
        if not readers[0].command and fetches:
            asked = min(fetch.left, size.fetch_chunk)
            readers[0].command, readers[0].at, readers[0].left = 1, fetch.at, 4 * asked - 1
            fetch.at += 4 * asked
            fetch.left -= asked
            fetch.room -= asked

        # The dispatcher.
        result[0] += 1
        if state == _HEADER or state == _PAYLOAD:
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
                    unit.busy, unit.job, unit.taken = 1, each.job, cycle
                    unit.item, unit.item_end, unit.first = job.item, job.item + job.items, cycle + 5
                    unit.block, unit.block_end = job.block, job.block + job.blocks
                    _start_walk(readers[each.operation], job, cycle)
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
                    _start_walk(writers[0], job, cycle)
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
                        _begin_read(readers[3], work.read_a, work.runs_a, work.length_a, cycle)
                    if work.takes_b or work.held:
                        _begin_read(readers[4], work.read_b, work.runs_b, work.length_b, cycle)
                    _begin_write(
                        vector_writes[0], writers[1], work.write, work.runs, work.length, cycle
                    )
            elif each.operation > _VECTORS:
                k = each.operation - _UPDATES
                taken = not busy >> (_UPDATE + k) & 1
                if taken:
                    _begin_pruner(
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
