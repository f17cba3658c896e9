"""Walker: nested loops that move places, one pass of them a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.walk import WalkShape


class Walker(Unit):
    """A job in, its passes out: the hardware of `WalkShape.passes`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | walks |
    | pass_valid, pass_ready, pass_data | 1, 1, `pass_fields` | out, in, out | their passes |

    A job that is taken in cycle t gives its first pass in cycle t + 3. Throughput: a pass a cycle,
    also from one job to the next: a job that waits is taken as the pass before its first one is
    made. So `job_ready` depends on `pass_ready`, but on no valid.

    What goes on is settled two passes ahead of its coming out: loops are counted first, then the
    steps are chosen, and then they are added.
    """

    def __init__(self, shape: WalkShape, tag_bits: int = 0) -> None:
        self.shape = shape
        self.tag_bits = tag_bits
        sizes = [shape.loops, *shape.places.values(), tag_bits]
        self.module_name = f"nofm_chip_walker_{'_'.join(map(str, sizes))}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(self.job_fields.values())),
                "pass_valid": Out(1),
                "pass_ready": In(1),
                "pass_data": Out(sum(self.pass_fields.values())),
            }
        )

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of a job and their widths: those of the walk, and a tag, if there is one."""
        return self.shape.fields("") | self._tag

    @property
    def pass_fields(self) -> dict[str, int]:
        """Fields of a pass and their widths: the places, whether it is the job's last, its tag."""
        return {**self.shape.places, "last": 1} | self._tag

    @property
    def _tag(self) -> dict[str, int]:
        return {"tag": self.tag_bits} if self.tag_bits else {}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        places = self.shape.places
        given = split(self.job_fields, self.job_data)
        # The job, as it was given.
        job = {name: Signal(width, name=name) for name, width in self.job_fields.items()}
        running, first, last, makes = Signal(), Signal(), Signal(), Signal()
        chosen_ready = Signal()
        m.d.comb += [
            makes.eq(running & chosen_ready),
            self.job_ready.eq(~running | (chosen_ready & last)),
        ]
        loop = self._count(m, job, given, first, last, makes)
        with m.If(makes):
            m.d.sync += [first.eq(0), running.eq(~last)]
        with m.If(self.job_valid & self.job_ready):
            m.d.sync += [running.eq(1), first.eq(1)]
            m.d.sync += [job[name].eq(given[name]) for name in job]

        # What the next pass adds to the places; the first one of a walk sets them.
        chosen, sets, ends = Signal(), Signal(), Signal()
        tag = Signal(self.tag_bits, name="chosen_tag")
        steps = {place: Signal(width, name=f"step_{place}") for place, width in places.items()}
        pass_ready = Signal()
        m.d.comb += [
            pass_ready.eq(~self.pass_valid | self.pass_ready),
            chosen_ready.eq(~chosen | pass_ready),
        ]
        with m.If(chosen_ready):
            m.d.sync += [chosen.eq(running), sets.eq(first), ends.eq(last)]
            if self.tag_bits:
                m.d.sync += tag.eq(job["tag"])
            for place, step in steps.items():
                moves = [job[f"step_{place}_{i}"] for i in range(self.shape.loops)]
                m.d.sync += step.eq(Mux(first, job[f"start_{place}"], _chosen(loop, moves)))

        made = {name: Signal(width, name=name) for name, width in self.pass_fields.items()}
        m.d.comb += self.pass_data.eq(Cat(made.values()))
        with m.If(pass_ready):
            m.d.sync += [self.pass_valid.eq(chosen), made["last"].eq(ends)]
            if self.tag_bits:
                m.d.sync += made["tag"].eq(tag)
        with m.If(pass_ready & chosen):
            for place, step in steps.items():
                m.d.sync += made[place].eq(Mux(sets, 0, made[place]) + step)
        return m

    def _count(
        self,
        m: Module,
        job: dict[str, Signal],
        given: dict[str, Value],
        first: Signal,
        last: Signal,
        makes: Signal,
    ) -> list[Signal]:
        """Count the loops; for each but the outermost, whether it is the one that goes on."""
        inner = range(self.shape.loops - 1)
        left = [Signal(len(job[f"left_{i}"]), name=f"left_{i}") for i in inner]
        # Whether nothing is left of a loop's round: kept, so that no comparison is in the way.
        over = [Signal(name=f"over_{i}") for i in inner]
        total = Signal(len(job["total"]), name="total_left")
        going = [Signal(name=f"goes_on_{i}") for i in inner]
        m.d.comb += [going[i].eq(Cat(~over[i], *over[:i]).all()) for i in inner]
        with m.If(makes):
            m.d.sync += [total.eq(total - 1), last.eq(total == 1)]
        # The first pass is none that a loop goes on to.
        with m.If(makes & ~first):
            for i in inner:
                count = job[f"count_{i}"]
                with m.If(going[i]):
                    m.d.sync += [left[i].eq(left[i] - 1), over[i].eq(left[i] == 1)]
                with m.Elif(Cat(over[: i + 1]).all()):
                    m.d.sync += [left[i].eq(count), over[i].eq(count == 0)]
        with m.If(self.job_valid & self.job_ready):
            m.d.sync += [total.eq(given["total"]), last.eq(given["total"] == 0)]
            for i in inner:
                m.d.sync += [
                    left[i].eq(given[f"left_{i}"]),
                    over[i].eq(given[f"left_{i}"] == 0),
                ]
        return going


def _chosen(which: list[Signal], values: list[Signal]) -> Value:
    """The value whose bit is high, or the last one."""
    found: Value = values[-1]
    for bit, value in zip(which, values[:-1], strict=True):
        found = Mux(bit, value, found)
    return found
