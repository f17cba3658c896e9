"""What a chip's program and its machine are made of, as records of numbers."""

from __future__ import annotations

from nofm.kernels.tiered import integers

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


OPERATIONS = (
    *("barrier", "load_activations", "load_weights", "product", "store"),
    *("vector", "update", "prune"),
)
"""Operations of descriptors, in the order of their numbers here."""

PRUNING_STREAMS = (
    *("weight", "momentum", "gradient"),
    *("new_weight", "new_momentum", "half", "form_rows", "form_columns"),
)
"""Streams of an update job; a prune job has the third and the last two."""

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
unpack_room: FP16 elements in the unpacking of a weight load.
vector_lanes, vector_latency, update_lanes, update_latency, prune_lanes, prune_latency: elements a
cycle, and cycles from an element to what comes of it. entries: kept elements of a group, at most.
"""

DESCRIPTOR = integers("words", "wait", "operation", "job", "last")
"""words: of the payload. wait: units that must be idle, a bit each. operation: its number among
`OPERATIONS`. job: number of its job. last: whether the program ends with it."""

MOVE = integers("run", "runs", "length", "item", "items", "block", "blocks")
"""A load or a store. run, runs: first of its `addresses`, and how many. length: FP16 elements of
each, less one. item, items: pieces that a load writes, or rows that a store reads: first one's
place among `items`, and how many. block, blocks: likewise of a weight load's `blocks`."""

PRODUCT = integers("units", "arrives", "waits", "cycles", "ends", "gives", "collects", "reads")
"""A step of the array's job. units: those that get a job, a bit each. arrives: cycles from the step
to its first activations' being there. waits: cycles that the array waits beside, for banks or first
weights. cycles: from its taking the first activations to its wish for those of the next step, or to
its end. ends: whether the array's job does. gives: whether it has results. collects: cycles from
the array's end to the collector's. reads: cycles of the activations' feeder."""

VECTOR = integers(
    *(
        "run",
        "passes",
        "rounds",
        "held",
        "takes_a",
        "takes_b",
        "reduces",
        "writes",
        "rest",
    ),
    *("read_a", "runs_a", "length_a", "read_b", "runs_b", "length_b"),
    *("write", "runs", "length"),
)
"""A vector job. run, passes, rounds: elements of a run, passes of a round, rounds. held: runs that
a round begins with. takes_a, takes_b: whether a pass takes a run of the streams. reduces:
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
row_groups: its groups. piece, pieces: first of its `pieces`, and how many. Of every stream the
first of its `addresses`, how many, and FP16 elements of each, less one."""

RESULT = (
    "cycles",
    *(f"waits_{name}" for name in WAITS),
    *(f"busy_{name}" for name in UNITS),
    "array_stalled",
)
"""What a run gives, in cycles: of the program; in which the dispatcher waits; in which units have a
job (that of the weights' feeder is not counted); in which the array waits for operands."""

FIRST_WISH = 2
"""Cycles from the array's taking a job to its wish for activations, which then are on their way."""

AFTER = 2
"""Cycles of the array's job beside those from its first activations on."""
