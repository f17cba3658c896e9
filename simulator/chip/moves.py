"""What moves tiles and programs: the loaders, the storer, the fetcher."""

from __future__ import annotations

from typing import Any

from nofm.kernels.tiered import helper, integers
from nofm.simulator.chip.queues import RING, leave, regroup

LOADER = integers(
    "busy",
    "job",
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
def start_walk(client: Any, job: Any, cycle: Any) -> Any:
    """A job's runs, from a walker's latency on."""
    client.run, client.end = job.run, job.run + job.runs
    client.first, client.length = cycle + 3, job.length


@helper
def load_cycle(
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
        if leave(client, elements.room >= halves):
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
        if leave(client, blocks_of.room >= halves):
            halves_in = granules[owner, (client.left_words - 1) % RING] + 1
            client.room += 1
        block = -1
        beside = 0
        if unit.block < unit.block_end:
            block, beside = blocks[unit.block, 0], blocks[unit.block, 1]
        unit.block += regroup(blocks_of, halves_in, block, beside, step)
    unit.item += regroup(elements, comes, item, unit.item + 1 == unit.item_end, True)
    if finish:
        unit.busy = 0


@helper
def store_cycle(
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
    if regroup(results, comes, words, 0, ready):
        unit.left = job.length if unit.left < halves else unit.left - halves
    if step:
        unit.came = unit.reads
        unit.reads = 0
        if unit.item < unit.item_end and cycle >= unit.first:
            unit.reads = items[unit.item]
            unit.item += 1


@helper
def fetch_cycle(f: Any, client: Any, granules: Any, size: Any, takes: Any) -> Any:
    """A cycle of the `Fetcher`: what leaves its queue, and what comes to it."""
    ready = f.level != size.fetch_depth
    pops = f.level > 0 and (takes or not f.out)
    f.level -= pops
    f.out = pops or (f.out and not takes)
    f.room += takes
    if size.halves == 4:
        if leave(client, ready):
            client.room += 1
            f.level += 1
        return
    holds = f.holds
    if holds and ready:
        f.level += 1
        f.holds -= 1
    if leave(client, not holds):
        client.room += 1
        f.holds = (granules[0, (client.left_words - 1) % RING] + 1) // 4
