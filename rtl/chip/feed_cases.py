"""Cases for the bench of feeders: jobs, what their buffers hold, and what must come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.activation_feeder import ActivationFeeder, activation_buffer
from nofm.rtl.chip.banks import BufferSizes
from nofm.rtl.chip.weight_feeder import WeightFeeder, weight_buffer
from nofm.rtl.fields import pack, split
from nofm.rtl.hierarchy import Unit, place, together
from nofm.rtl.program.feed import (
    activation_beats,
    activation_feed_fields,
    weight_feed_fields,
    weight_words,
)
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.tools.cocotb_runner import replay

AFTER_BITS = 12
"""Bits of a number of pieces, or of jobs."""

COUNTERS = ("count_conflict", "count_full", "count_busy")
Values = dict[str, int]
Lanes = list[list[int]]


class Bench(Unit):
    """A feeder whose pieces come on a stream `write`, and whose cycles are counted.

    A job goes on when as many pieces are written as it says, and a piece when as many jobs are
    done: so one job reads while the next one's data is written.
    """

    def __init__(self, feeder: ActivationFeeder | WeightFeeder) -> None:
        self.feeder = feeder
        members = feeder.signature.members
        self.streams = {
            name: member
            for name, member in members.items()
            if name.startswith(("activations_", "row_weights_", "column_weights_"))
        }
        job = dict(members)["job_data"].shape
        self.write = {
            **{p: len(getattr(feeder, f"write_{p}")) for p in ("at", "count", "data", "skew")},
            "after": AFTER_BITS,
        }
        self.module_name = f"{feeder.module_name}_bench"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(job + AFTER_BITS),
                "write_valid": In(1),
                "write_ready": Out(1),
                "write_data": In(sum(self.write.values())),
                **self.streams,
                "done": Out(1),
                **{name: Out(24) for name in COUNTERS},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        feeder = self.feeder
        place(m, platform, "feeder", feeder)
        written, done = Signal(AFTER_BITS), Signal(AFTER_BITS)
        piece = split(self.write, self.write_data)
        job = split({"job": len(feeder.job_data), "after": AFTER_BITS}, self.job_data)
        may = Signal()
        m.d.comb += [
            may.eq(written >= job["after"]),
            feeder.job_valid.eq(self.job_valid & may),
            self.job_ready.eq(feeder.job_ready & may),
            feeder.job_data.eq(job["job"]),
            self.write_ready.eq(done >= piece["after"]),
            feeder.write_valid.eq(self.write_valid & self.write_ready),
            *(getattr(feeder, f"write_{p}").eq(piece[p]) for p in ("at", "count", "data", "skew")),
            self.done.eq(feeder.done),
        ]
        for name, member in self.streams.items():
            port, inner = getattr(self, name), getattr(feeder, name)
            m.d.comb += port.eq(inner) if member.flow is Out else inner.eq(port)
        m.d.sync += [
            written.eq(written + feeder.write_valid),
            done.eq(done + feeder.done),
            *(
                count.eq(count + getattr(feeder, name.removeprefix("count_")))
                for name, count in ((name, getattr(self, name)) for name in COUNTERS)
            ),
        ]
        return m


def pieces(
    rng: np.random.Generator,
    buffer: BufferSizes,
    at: int,
    data: Sequence[int],
    skew: int,
    after: int,
) -> Iterator[Values]:
    """Elements from `at` on, in pieces of any size that cross no multiple of a group; in the other
    lanes is anything."""
    while data:
        most = min(len(data), buffer.piece, buffer.group - at % buffer.group)
        count = int(rng.integers(1, most + 1)) if rng.random() < 0.3 else most
        junk = [int(x) for x in rng.integers(0, 1 << buffer.element_bits, buffer.piece - count)]
        lanes = [*data[:count], *junk]
        word = sum(value << buffer.element_bits * k for k, value in enumerate(lanes))
        yield {"at": at, "count": count - 1, "data": word, "skew": skew, "after": after}
        at, data = at + count, data[count:]


@dataclass(frozen=True)
class Job:
    """A job of a feeder.

    Attributes:
        values: of its fields.
        at: address of the elements that are written for it.
        data: they; none, where it reads what others wrote.
    """

    values: Mapping[str, int]
    at: int = 0
    data: Sequence[int] = ()


class Feeding:
    """A feeder, and what its cases are made of.

    Args:
        sizes: of the chip.
        feeder: of activations or of weights.
    """

    def __init__(self, sizes: ChipSizes, feeder: ActivationFeeder | WeightFeeder) -> None:
        self.sizes = sizes
        self.feeder = feeder
        self.bench = Bench(feeder)
        if isinstance(feeder, ActivationFeeder):
            self.fields, self.buffer = activation_feed_fields(sizes), activation_buffer(sizes)
            self.streams = ["activations"]
        else:
            self.fields, self.buffer = weight_feed_fields(sizes), weight_buffer(sizes)
            self.streams = ["row_weights", "column_weights"]
        self.elements = self.buffer.word * self.buffer.banks * self.buffer.depth

    def wanted(self, values: Mapping[str, int], memory: Any) -> dict[str, Lanes]:
        """What a job gives on every stream, with these elements in the buffer."""
        if isinstance(self.feeder, ActivationFeeder):
            return {"activations": activation_beats(self.sizes, values, memory)}
        lanes = weight_words(self.sizes, values, memory)
        return {
            "row_weights": lanes if values["to_rows"] else [[]] * self.sizes.rows,
            "column_weights": [[]] * self.sizes.columns if values["to_rows"] else lanes,
        }

    def case(self, name: str, jobs: Sequence[Job], seed: int = 0, **options: Any) -> Case:
        """Jobs one after the other. What is written for each comes as soon as the job before the
        last one is done.

        Args:
            name: of the case.
            jobs: with their data.
            seed: of how data is cut into pieces, and of the streams' patterns.
            options: further attributes of the case.
        """
        rng = np.random.default_rng(seed)
        memory = np.zeros(self.elements, np.uint32)
        words: list[int] = []
        writes: list[int] = []
        outputs: dict[str, Lanes] = {}
        for number, job in enumerate(jobs):
            skew, after = job.values["skew"], max(0, number - 1)
            given = list(pieces(rng, self.buffer, job.at, job.data, skew, after))
            # In any order, so that what a piece writes beside itself stays.
            rng.shuffle(given)
            writes.extend(pack(self.bench.write, piece) for piece in given)
            memory[job.at : job.at + len(job.data)] = job.data
            word = pack(self.fields, job.values)
            words.append(word | len(writes) << sum(self.fields.values()))
            for stream, lanes in self.wanted(job.values, memory).items():
                have = outputs.setdefault(stream, [[] for _ in lanes])
                for lane, more in zip(have, lanes, strict=True):
                    lane += more
        out = sum(len(lane) for lanes in outputs.values() for lane in lanes)
        return Case(
            name=name,
            inputs={"job": [words], "write": [writes]},
            outputs=outputs,
            jobs=len(jobs),
            limit=2000 + 6 * len(writes) + 10 * out,
            seed=seed,
            **options,
        )

    def play(self, cases: Sequence[Case], folder: Path) -> list[dict[str, Any]]:
        """What the bench says of cases."""
        sources = together(self.bench)
        top = self.bench.module_name
        done = replay(sources, top, cases, folder=folder, tool="icarus", counters=COUNTERS)
        results: list[dict[str, Any]] = done.results["cases"]
        return results
