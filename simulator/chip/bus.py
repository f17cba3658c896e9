"""The way to memory and back: chunks of clients in turn, both masters, the write window, memory."""

from __future__ import annotations

from typing import Any

from nofm.kernels.tiered import helper, integers
from nofm.simulator.chip.queues import BUFFER, RING, leave

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
    *("credit", "offers", "takes"),
    # Beats that are to be read: all that left and came. Bursts to write: likewise, and their beats.
    *("read", "reads", "written", "writes", "beats", "answers_left", "answers", "answer"),
)

# What is known of a chunk.
_OWNER, _WORDS, _BEATS, _OFFSET, _COMPLETES, _ENDS, _TAIL, _START = range(8)


@helper
def chunk_words(client: Any, halves: Any, chunk_beats: Any) -> Any:
    """Words of the chunk that a client's command has next."""
    return min(chunk_beats - client.at // halves % chunk_beats, client.left // halves + 1)


@helper
def choose(clients: Any, last: Any, halves: Any, chunk_beats: Any) -> Any:
    """The first client behind the last one that has a chunk which it may have now, or -1."""
    for k in range(len(clients)):
        number = (last + 1 + k) % len(clients)
        each = clients[number]
        if each.command and chunk_words(each, halves, chunk_beats) <= each.room:
            return number
    return -1


@helper
def serve(client: Any, number: Any, chunk: Any, halves: Any, chunk_beats: Any) -> Any:
    """Cut a chunk off a client's command; it has room for it."""
    words = chunk_words(client, halves, chunk_beats)
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
def ask(client: Any, addresses: Any, cycle: Any, ready: Any) -> Any:
    """The walk's next run becomes a command if `ready`; whether it did."""
    if not ready or client.run >= client.end or cycle < client.first:
        return False
    client.command, client.at, client.left = 1, addresses[client.run], client.length
    client.run += 1
    return True


@helper
def next_burst(m: Any, chunk: Any) -> Any:
    """The first burst of a chunk."""
    m.burst, m.place, m.left = 1, chunk[_START], chunk[_BEATS]


@helper
def take_burst(m: Any, chunk_beats: Any) -> Any:
    """The next burst leaves: its beats."""
    beats = min(chunk_beats - m.place, m.left)
    m.place = 0
    m.left -= beats
    m.burst = m.left > 0
    return beats


@helper
def read_words(m: Any, chunks: Any, clients: Any, granules: Any, sink: Any, halves: Any) -> Any:
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
    # A beat that only begins a word needs no room, unless a word stands before it.
    step = m.full and (ready or (fills and not m.rest)) and (fills or not m.rest)
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
def read_cycle(
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
    takes = read_words(m, chunks, clients, granules, sink, size.halves)
    came_last = False
    if memory.offers:
        m.beats += 1
        came_last = due[memory.read % RING, 1] == 1
        memory.read += 1
        note(trace, 1, cycle)
    asks = m.burst and m.room >= size.chunk_beats and m.under_way != size.outstanding
    beats = 0
    had = m.burst
    if asks:
        note(trace, 0, cycle)
        beats = take_burst(m, size.chunk_beats)
        for beat in range(beats):
            due[memory.reads % RING, 0] = cycle + size.latency
            due[memory.reads % RING, 1] = beat == beats - 1
            memory.reads += 1
    if m.came > m.asked and waits and (not had or (asks and not m.burst)):
        next_burst(m, chunks[m.asked % RING])
        m.asked += 1
    m.room += takes - beats
    m.under_way += asks - came_last


@helper
def write_cycle(
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
        note(trace, 4, cycle)
    # AW.
    asks = m.burst and m.whole != 0 and room
    had = m.burst
    if asks:
        chunk = chunks[m.chunk % RING]
        lengths[memory.writes % RING] = take_burst(m, size.chunk_beats)
        memory.writes += 1
        ended = not m.burst and chunk[_ENDS]
        answers[m.answers_came % RING] = chunk[_OWNER] if ended else -1
        m.answers_came += 1
        note(trace, 2, cycle)
    # W.
    moves = m.beats_out and (m.ahead > 1 or (m.ahead == 1 and asks)) and memory.takes
    sent = moves and ends[m.beats_left % RING]
    if moves:
        m.beats_left += 1
        memory.beats += 1
        note(trace, 3, cycle)
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
        next_burst(m, chunks[m.chunk % RING])
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
def write_share(
    m: Any, chunks: Any, clients: Any, window: Any, words_ready: Any, source_ready: Any, size: Any
) -> Any:
    """Words and chunks of the clients come to the window."""
    goes_ready = window.came - window.goes != BUFFER
    owner = -1
    if window.goes < window.came:
        owner = chunks[window.goes % RING, _OWNER]
    for number in range(len(clients)):
        if leave(clients[number], number == owner and words_ready):
            window.words += 1
            window.sent += 1
            if window.sent == chunks[window.goes % RING, _WORDS]:
                window.sent = 0
                window.goes += 1
    if source_ready and goes_ready:
        number = choose(clients, m.served, size.halves, size.chunk_beats)
        if number >= 0:
            chunk = chunks[window.came % RING]
            serve(clients[number], number, chunk, size.halves, size.chunk_beats)
            window.came += 1
            m.served = number


@helper
def note(trace: Any, channel: Any, cycle: Any) -> Any:
    """Keep when something moved on AR, R, AW, W or B."""
    count = trace[channel, 0]
    if count + 1 < trace.shape[1]:
        trace[channel, count + 1] = cycle
    trace[channel, 0] = count + 1


@helper
def memory_cycle(
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
    waiting = memory.answers_left < memory.answers
    if waiting and answer_due[memory.answers_left % RING] <= cycle + 1:
        memory.answer = 1
        memory.answers_left += 1
