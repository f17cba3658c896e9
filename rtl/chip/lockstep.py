"""Lockstep: the passes that all lanes do together, fold after fold, over the places they hold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.held_places import HeldPlaces
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.walk import COUNT_BITS, WalkShape


class Lockstep(Unit):
    """Walks what lanes do together in every fold, beside the places that they hold in it.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | jobs |
    | go | 1 | in | passes may go on |
    | passes | 1 | out | a pass goes on in this cycle |
    | waits | 1 | out | one would, if it might |
    | passed | places | out | the pass |
    | walk_ends | 1 | out | it is the last of its walk; only where all walks are alike |
    | job_ends | 1 | out | it is the last of its job |
    | held | lanes x places | out | what each lane adds to it, lane 0 lowest |
    | lanes | lanes | out | lanes that take part |
    | with_job | `with_bits` | out | what came with the job |

    Latency: `latency` cycles and one a lane, from a job that is taken to its first pass.
    Throughput: a pass a cycle, also from walk to walk; where the places of the next fold, or of the
    next job, take longer to come than the walks of this one, passes wait for them. Those of the
    next job begin to come when the last walk of a job has begun.
    """

    latency = 5
    """Cycles from a job to its first pass, beside one for each lane."""

    def __init__(self, shape: WalkShape, lanes: int, with_bits: int, *, last_differs: bool) -> None:
        self.shape = shape
        self.lanes_count = lanes
        self.with_bits = with_bits
        self.last_differs = last_differs
        sizes = [shape.loops, *shape.places.values(), lanes, with_bits, int(last_differs)]
        self.module_name = f"nofm_chip_lockstep_{'_'.join(map(str, sizes))}"
        place_bits = sum(shape.places.values())
        self._held = HeldPlaces(shape, lanes, with_bits)
        # A walk's tag: after its last pass the places are not needed any more; the job has ended.
        self._walker = Walker(shape, tag_bits=2)
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(self.job_fields.values())),
                "go": In(1),
                "passes": Out(1),
                "waits": Out(1),
                "passed": Out(place_bits),
                **({} if last_differs else {"walk_ends": Out(1)}),
                "job_ends": Out(1),
                "held": Out(lanes * place_bits),
                "lanes": Out(lanes),
                "with_job": Out(with_bits),
            }
        )

    @property
    def job_fields(self) -> dict[str, int]:
        """Fields of a job and their widths.

        held_...: walk over the held places, lane after lane and fold after fold: as many passes as
        there are places.
        inner_...: walk that lanes do together; last_...: the last one of every fold, if that
        differs from the others.
        repeats: walks of a fold, less one; folds: less one.
        once: the places of the first fold stay.
        lanes: of a fold; the last one has as many as there are places left.
        with: goes with all passes.
        """
        return {
            **self.shape.fields("held_"),
            **self.shape.fields("inner_"),
            **(self.shape.fields("last_") if self.last_differs else {}),
            "repeats": COUNT_BITS,
            "folds": COUNT_BITS,
            "once": 1,
            "lanes": self.lanes_count.bit_length(),
            "with": self.with_bits,
        }

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held, walker = self._held, self._walker
        place(m, platform, "held_places", held)
        place(m, platform, "walker", walker)
        given = split(self.job_fields, self.job_data)
        job = {name: Signal(width, name=name) for name, width in self.job_fields.items()}
        # The job's places, and its walks, are not all told.
        deals, walks, takes = Signal(), Signal(), Signal()
        m.d.comb += [
            self.job_ready.eq(~deals & ~walks),
            takes.eq(self.job_valid & self.job_ready),
        ]

        held_job = {
            **{name: job[f"held_{name}"] for name in self.shape.fields("")},
            "lanes": job["lanes"],
            "with": job["with"],
        }
        told = split(held.job_fields, held.job_data)
        m.d.comb += [
            held.job_valid.eq(deals),
            *(value.eq(held_job[name]) for name, value in told.items()),
        ]
        with m.If(held.job_ready):
            m.d.sync += deals.eq(0)

        repeats, folds = Signal(COUNT_BITS), Signal(COUNT_BITS)
        last_walk, last_fold = Signal(), Signal()
        inner = [job[f"inner_{name}"] for name in self.shape.fields("")]
        if self.last_differs:
            last = [job[f"last_{name}"] for name in self.shape.fields("")]
            inner = [Mux(last_walk, a, b) for a, b in zip(last, inner, strict=True)]
        ends = last_walk & last_fold
        m.d.comb += [
            last_walk.eq(repeats == 0),
            last_fold.eq(folds == 0),
            walker.job_valid.eq(walks),
            walker.job_data.eq(Cat(*inner, last_walk & (last_fold | ~job["once"]), ends)),
        ]
        with m.If(walks & walker.job_ready):
            m.d.sync += repeats.eq(Mux(last_walk, job["repeats"], repeats - 1))
            m.d.sync += [folds.eq(folds - last_walk), walks.eq(~ends)]
        with m.If(takes):
            m.d.sync += [deals.eq(1), walks.eq(1), *(job[name].eq(given[name]) for name in job)]
            m.d.sync += [repeats.eq(given["repeats"]), folds.eq(given["folds"])]

        passed = split(walker.pass_fields, walker.pass_data)
        ready = held.set_valid & walker.pass_valid
        m.d.comb += [
            self.passes.eq(ready & self.go),
            self.waits.eq(ready & ~self.go),
            walker.pass_ready.eq(held.set_valid & self.go),
            self.passed.eq(Cat(passed[name] for name in self.shape.places)),
            self.job_ends.eq(passed["last"] & passed["tag"][1]),
            held.release.eq(self.passes & passed["last"] & passed["tag"][0]),
            self.held.eq(held.set_places),
            self.lanes.eq(held.set_lanes),
            self.with_job.eq(held.set_with),
        ]
        if not self.last_differs:
            m.d.comb += self.walk_ends.eq(passed["last"])
        return m
