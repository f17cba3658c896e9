"""Activation feeder: the activation buffer, and what the array's rows get out of it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.banks import Buffer, BufferSizes
from nofm.rtl.chip.beat_lane import HALF, BeatLane
from nofm.rtl.chip.later import later, tell_done
from nofm.rtl.chip.lockstep import Lockstep
from nofm.rtl.chip.map_lane import MapLane
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.feed import AXES, activation_feed_fields, map_walk
from nofm.rtl.program.sizes import ChipSizes


def activation_buffer(sizes: ChipSizes) -> BufferSizes:
    """The activation buffer of a chip."""
    return BufferSizes(
        lanes=sizes.rows,
        word=sizes.port,
        element_bits=HALF,
        banks=sizes.activation_banks,
        depth=sizes.activation_depth,
        piece=sizes.halves,
    )


class ActivationFeeder(Unit):
    """Does what `activation_beats` says.

    A pass of the inner walk asks the buffer for all rows at once, and every row has a queue, for
    rows work one after the other: passes go on while each of them has room.

    R rows, K elements of a piece.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `activation_feed_fields` | in, out, in | jobs |
    | write_valid, write_at, write_count, write_data, write_skew | 1, `activation_bits`, bits of \
K, K x 16, 1 | in | pieces, as a `Buffer` takes them |
    | activations_valid, _ready, _data | R, R, R x port x 16 | out, in, out | beats of the rows |
    | busy | 1 | out | a job is not done |
    | done | 1 | out | for one cycle: a job has read all that it reads, and its beats are queued |
    | conflict | 1 | out | a pass takes a further cycle, for rows want words of one bank |
    | full | 1 | out | a pass waits for room in a queue |

    Latency: `latency` cycles and one a row, from a job that is taken to its first beat. Throughput:
    a pass a cycle, without a cycle in between where a walk begins again, also from fold to fold and
    from job to job; but no fold goes by faster than the next one's places come: in a cycle for each
    of its rows, and one more. The next job's come while the last walk of the one before goes by.
    """

    def __init__(self, sizes: ChipSizes, queue_depth: int) -> None:
        self.sizes = sizes
        self.queue_depth = queue_depth
        buffer = activation_buffer(sizes)
        self.module_name = "nofm_chip_activation_feeder"
        rows = sizes.rows
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(activation_feed_fields(sizes).values())),
                "write_valid": In(1),
                "write_at": In(buffer.at_bits),
                "write_count": In((buffer.piece - 1).bit_length()),
                "write_data": In(buffer.piece * HALF),
                "write_skew": In(1),
                "activations_valid": Out(rows),
                "activations_ready": In(rows),
                "activations_data": Out(rows * sizes.port * HALF),
                "busy": Out(1),
                "done": Out(1),
                "conflict": Out(1),
                "full": Out(1),
            }
        )

    latency = Lockstep.latency + MapLane.stages + Buffer.latency + BeatLane.stages + 2
    """Cycles from a job to its first beat, beside one for each row."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sizes = self.sizes
        fields = activation_feed_fields(sizes)
        job = split(fields, self.job_data)
        walk = map_walk(sizes)
        buffer_sizes = activation_buffer(sizes)
        with_job = {
            name: fields[name] for name in (*(f"size_{a}" for a in AXES), "take", "gather", "skew")
        }
        lockstep = Lockstep(walk, sizes.rows, sum(with_job.values()), last_differs=False)
        place(m, platform, "lockstep", lockstep)
        told = {
            **{name: job[name] for name in job if name.startswith(("held_", "inner_"))},
            "repeats": job["repeats"],
            "folds": job["outer"],
            "once": 0,
            "lanes": sizes.rows,
            "with": Cat(job[name] for name in with_job),
        }
        asked = split(lockstep.job_fields, lockstep.job_data)
        m.d.comb += [
            lockstep.job_valid.eq(self.job_valid),
            self.job_ready.eq(lockstep.job_ready),
            *(value.eq(told[name]) for name, value in asked.items()),
        ]

        # Of how many passes a beat is made, and which one this is.
        now = split(with_job, lockstep.with_job)
        number, closes = Signal(fields["gather"]), Signal()
        m.d.comb += closes.eq(lockstep.walk_ends | (number == now["gather"]))
        with m.If(lockstep.passes):
            m.d.sync += number.eq(Mux(closes, 0, number + 1))

        tag = Cat(lockstep.job_ends, closes, number)
        lane_bits = len(number) + sizes.port
        go_cycles = 1
        buffer = Buffer(buffer_sizes, len(tag), lane_bits, MapLane.stages + go_cycles)
        place(m, platform, "buffer", buffer)
        for port in ("valid", "at", "count", "data", "skew"):
            m.d.comb += getattr(buffer, f"write_{port}").eq(getattr(self, f"write_{port}"))
        m.d.comb += [
            buffer.request_valid.eq(later(m, "asks", lockstep.passes, MapLane.stages, keep=True)),
            buffer.request_tag.eq(later(m, "tag", tag, MapLane.stages)),
            buffer.request_skew.eq(later(m, "skew", now["skew"], MapLane.stages)),
        ]
        map_sizes = later(m, "sizes", Cat(now[f"size_{a}"] for a in AXES), 1)
        take = later(m, "take", now["take"], 2)
        given_ends, given_closes, given_number = (
            buffer.given_tag[0],
            buffer.given_tag[1],
            buffer.given_tag[2:],
        )
        room = Signal(sizes.rows)
        low_bits, word_bits = (sizes.port - 1).bit_length(), buffer_sizes.number_bits
        for row in range(sizes.rows):
            before = MapLane(sizes)
            behind = BeatLane(
                sizes.port, self.queue_depth, buffer.capacity + BeatLane.stages + go_cycles + 1
            )
            place(m, platform, f"map_lane_{row}", before)
            place(m, platform, f"beat_lane_{row}", behind)
            first = before.at[:low_bits] if low_bits else Const(0, 1)
            given = buffer.given_with.word_select(row, lane_bits)
            m.d.comb += [
                before.takes.eq(lockstep.passes & lockstep.lanes[row]),
                before.held.eq(lockstep.held.word_select(row, before.place_bits)),
                before.passed.eq(lockstep.passed),
                before.map_sizes.eq(map_sizes),
                before.take.eq(take),
                buffer.request_gives[row].eq(before.gives),
                buffer.request_reads[row].eq(before.reads),
                buffer.request_words.word_select(row, word_bits).eq(before.at[low_bits:]),
                buffer.request_with.word_select(row, lane_bits).eq(Cat(first, before.inside)),
                behind.in_valid.eq(buffer.given_lanes[row]),
                behind.in_word.eq(buffer.given_words.word_select(row, buffer_sizes.word_bits)),
                behind.first.eq(given),
                behind.inside.eq(given[len(number) :]),
                behind.number.eq(given_number),
                behind.closes.eq(given_closes),
                room[row].eq(behind.room),
                self.activations_valid[row].eq(behind.out_valid),
                behind.out_ready.eq(self.activations_ready[row]),
                self.activations_data.word_select(row, buffer_sizes.word_bits).eq(behind.out_data),
            ]
        queues = Signal()
        m.d.sync += [queues.eq(room.all()), lockstep.go.eq(buffer.room & room.all())]
        m.d.comb += [self.conflict.eq(buffer.conflict), self.full.eq(lockstep.waits & ~queues)]
        tell_done(m, self, buffer.given_last & given_ends, BeatLane.stages + 1)
        return m
