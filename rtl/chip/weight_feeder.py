"""Weight feeder: the weight buffer, and what the array's rows or columns get out of it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.banks import Buffer, BufferSizes
from nofm.rtl.chip.later import later, tell_done
from nofm.rtl.chip.lockstep import Lockstep
from nofm.rtl.chip.room_queue import RoomQueue
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.feed import COLUMN_BITS, column_walk, weight_feed_fields
from nofm.rtl.program.sizes import ChipSizes


def weight_buffer(sizes: ChipSizes) -> BufferSizes:
    """The weight buffer of a chip."""
    return BufferSizes(
        lanes=max(sizes.rows, sizes.columns),
        word=1,
        element_bits=16 + sizes.index_bits,
        banks=sizes.weight_banks,
        depth=sizes.weight_depth,
        piece=sizes.halves,
    )


class WeightFeeder(Unit):
    """Does what `weight_words` says.

    A pass asks the buffer for all rows or columns at once, and each of them has a queue: passes go
    on while all of these have room.

    R rows, C columns, K elements of a piece, E bits of an element: 16 and those of an index.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `weight_feed_fields` | in, out, in | jobs |
    | write_valid, write_at, write_count, write_data, write_skew | 1, `weight_bits`, bits of K, \
K x E, 1 | in | pieces, as a `Buffer` takes them |
    | row_weights_valid, _ready, _data | R, R, R x E | out, in, out | for the rows |
    | column_weights_valid, _ready, _data | C, C, C x E | out, in, out | for the columns |
    | busy | 1 | out | a job is not done |
    | done | 1 | out | for one cycle: a job has read all that it reads, and that is queued |
    | conflict | 1 | out | a pass takes a further cycle, for lanes want words of one bank |
    | full | 1 | out | a pass waits for room in a queue |

    Latency: `latency` cycles and one a lane, from a job that is taken to its first word.
    Throughput: a pass a cycle, as of the `ActivationFeeder`.
    """

    latency = Lockstep.latency + 2 + Buffer.latency + 2
    """Cycles from a job to its first word, beside one for each lane."""

    def __init__(self, sizes: ChipSizes, queue_depth: int) -> None:
        self.sizes = sizes
        self.queue_depth = queue_depth
        buffer = weight_buffer(sizes)
        rows, columns, bits = sizes.rows, sizes.columns, buffer.element_bits
        self.module_name = "nofm_chip_weight_feeder"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(weight_feed_fields(sizes).values())),
                "write_valid": In(1),
                "write_at": In(buffer.at_bits),
                "write_count": In((buffer.piece - 1).bit_length()),
                "write_data": In(buffer.piece * bits),
                "write_skew": In(1),
                "row_weights_valid": Out(rows),
                "row_weights_ready": In(rows),
                "row_weights_data": Out(rows * bits),
                "column_weights_valid": Out(columns),
                "column_weights_ready": In(columns),
                "column_weights_data": Out(columns * bits),
                "busy": Out(1),
                "done": Out(1),
                "conflict": Out(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sizes = self.sizes
        fields = weight_feed_fields(sizes)
        job = split(fields, self.job_data)
        walk = column_walk(sizes)
        buffer_sizes = weight_buffer(sizes)
        lanes = buffer_sizes.lanes
        with_job = {name: fields[name] for name in ("size_n", "skew", "to_rows")}
        lockstep = Lockstep(walk, lanes, sum(with_job.values()), last_differs=True)
        place(m, platform, "lockstep", lockstep)
        to_rows = job["to_rows"]
        told = {
            **{name: job[name] for name in job if name.startswith(("held_", "last_"))},
            **{f"inner_{name}": job[f"full_{name}"] for name in walk.fields("")},
            "repeats": job["full"],
            "folds": job["outer"],
            "once": job["hold_once"],
            "lanes": Mux(to_rows, sizes.rows, sizes.columns),
            "with": Cat(job[name] for name in with_job),
        }
        asked = split(lockstep.job_fields, lockstep.job_data)
        m.d.comb += [
            lockstep.job_valid.eq(self.job_valid),
            self.job_ready.eq(lockstep.job_ready),
            *(value.eq(told[name]) for name, value in asked.items()),
        ]

        now = split(with_job, lockstep.with_job)
        tag = Cat(lockstep.job_ends, now["to_rows"])
        go_cycles = 1
        buffer = Buffer(buffer_sizes, len(tag), 0, ColumnLane.stages + go_cycles)
        place(m, platform, "buffer", buffer)
        for port in ("valid", "at", "count", "data", "skew"):
            m.d.comb += getattr(buffer, f"write_{port}").eq(getattr(self, f"write_{port}"))
        m.d.comb += [
            buffer.request_valid.eq(
                later(m, "asks", lockstep.passes, ColumnLane.stages, keep=True)
            ),
            buffer.request_tag.eq(later(m, "tag", tag, ColumnLane.stages)),
            buffer.request_skew.eq(later(m, "skew", now["skew"], ColumnLane.stages)),
        ]
        size_n = later(m, "size_n", now["size_n"], 1)
        for lane in range(lanes):
            before = ColumnLane(sizes)
            place(m, platform, f"column_lane_{lane}", before)
            m.d.comb += [
                before.takes.eq(lockstep.passes & lockstep.lanes[lane]),
                before.held.eq(lockstep.held.word_select(lane, before.place_bits)),
                before.passed.eq(lockstep.passed),
                before.size_n.eq(size_n),
                buffer.request_gives[lane].eq(before.gives),
                buffer.request_reads[lane].eq(before.gives),
                buffer.request_words.word_select(lane, sizes.weight_bits).eq(before.at),
            ]
        room = []
        spare = buffer.capacity + go_cycles + 1
        for stream, count, own in (
            ("row_weights", sizes.rows, buffer.given_tag[1]),
            ("column_weights", sizes.columns, ~buffer.given_tag[1]),
        ):
            for lane in range(count):
                queue = RoomQueue(buffer_sizes.element_bits, self.queue_depth, spare)
                place(m, platform, f"{stream}_{lane}", queue)
                data = getattr(self, f"{stream}_data").word_select(lane, queue.width)
                m.d.comb += [
                    queue.in_valid.eq(buffer.given_lanes[lane] & own),
                    queue.in_data.eq(buffer.given_words.word_select(lane, queue.width)),
                    getattr(self, f"{stream}_valid")[lane].eq(queue.out_valid),
                    queue.out_ready.eq(getattr(self, f"{stream}_ready")[lane]),
                    data.eq(queue.out_data),
                ]
                room.append(queue.room)
        queues = Signal()
        m.d.sync += [queues.eq(Cat(room).all()), lockstep.go.eq(buffer.room & Cat(room).all())]
        m.d.comb += [self.conflict.eq(buffer.conflict), self.full.eq(lockstep.waits & ~queues)]
        tell_done(m, self, buffer.given_last & buffer.given_tag[0], 1)
        return m


class ColumnLane(Unit):
    """Adds a lane's held place to a pass, two cycles later. Throughput: a pass a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | takes | 1 | in | the lane takes part |
    | held, passed | places of `column_walk` | in | the lane's place, and the pass |
    | size_n | 24 | in | columns below it count, the next cycle |
    | gives | 1 | out | the lane gets a word |
    | at | `weight_bits` | out | its address |
    """

    stages = 2
    """Cycles from a pass to its address."""

    def __init__(self, sizes: ChipSizes) -> None:
        self.walk = column_walk(sizes)
        self.place_bits = sum(self.walk.places.values())
        self.module_name = f"nofm_chip_column_lane_{sizes.weight_bits}"
        super().__init__(
            {
                "takes": In(1),
                "held": In(self.place_bits),
                "passed": In(self.place_bits),
                "size_n": In(COLUMN_BITS),
                "gives": Out(1),
                "at": Out(sizes.weight_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        places = self.walk.places
        held, passed = split(places, self.held), split(places, self.passed)
        place = {
            name: Signal(width, name=f"place_{name}", reset_less=True)
            for name, width in places.items()
        }
        takes = Signal()
        m.d.sync += [takes.eq(self.takes), *(place[n].eq(held[n] + passed[n]) for n in places)]
        m.d.sync += [self.gives.eq(takes & (place["n"] < self.size_n)), self.at.eq(place["at"])]
        return m
