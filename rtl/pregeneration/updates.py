"""Updates: WUVE's lanes, and the beats of SORE that their FP16 weights are."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.sore.geometry import VALUE_BITS
from nofm.rtl.sore.sequencer import beat_fields
from nofm.rtl.wuve.job import HYPER_PARAMETERS
from nofm.rtl.wuve.lane import delayed
from nofm.rtl.wuve.lanes import Lanes
from nofm.rtl.wuve.stream import GIVEN, UPDATED


class Updates(Unit):
    """Updates a beat's parameters, and hands it on with their FP16 weights as its elements.

    Where WUVE has fewer lanes than SORE takes elements, a beat comes in parts, one a cycle, and
    goes on with its last one.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | when low, nothing changes |
    | by | `HYPER_PARAMETERS` | in | FP32 lr, mu, wd; steady in a job |
    | given | lanes x `GIVEN` | in | w, v, g of each lane of WUVE, lane 0 lowest |
    | take | 1 | in | whether there are any in this cycle |
    | part | part bits | in | which part of a beat they are, where it has several |
    | beat | `beat_fields` | in | what the beat is; valid with its last part |
    | updated | lanes x `UPDATED` | out | w', v', h of each lane of WUVE |
    | give | 1 | out | whether there are any in this cycle |
    | elements | lanes of SORE x 16 | out | FP16 weights of a beat |
    | later_beat | `beat_fields` | out | what it is |

    Latency: WUVE's. Throughput: a part a cycle.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_updates_{g.suffix}"
        beat = sum(beat_fields(g.sore).values())
        super().__init__(
            {
                "advance": In(1),
                "by": In(sum(HYPER_PARAMETERS.values())),
                "given": In(g.wuve.lanes * sum(GIVEN.values())),
                "take": In(1),
                **({"part": In(g.sore.part_bits)} if g.sore.part_bits else {}),
                "beat": In(beat),
                "updated": Out(g.wuve.lanes * sum(UPDATED.values())),
                "give": Out(1),
                "elements": Out(g.sore.lanes * VALUE_BITS),
                "later_beat": Out(beat),
            }
        )

    @property
    def delay(self) -> int:
        """Cycles from a part to its updates, and from a beat's last part to the beat."""
        return self.geometry.wuve.latency_cycles

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        place(m, platform, "lanes", lanes := Lanes(g.wuve))
        width = sum(UPDATED.values())
        halves = Cat(
            split(UPDATED, lanes.updated[i * width : (i + 1) * width])["half"]
            for i in range(g.wuve.lanes)
        )
        # What must be 0 after reset is delayed apart from what need not.
        told, gives = self.beat, self.take
        for i in range(self.delay):
            next_told, next_gives = Signal(len(told), name=f"beat_{i}"), Signal(name=f"take_{i}")
            m.d.sync += [next_told.eq(told), next_gives.eq(gives)]
            told, gives = next_told, next_gives
        m.d.comb += [
            lanes.advance.eq(self.advance),
            lanes.by.eq(self.by),
            lanes.given.eq(self.given),
            self.updated.eq(lanes.updated),
            self.give.eq(gives),
            self.elements.eq(self._whole(m, halves)),
            self.later_beat.eq(told),
        ]
        return EnableInserter(self.advance)(m)

    def _whole(self, m: Module, halves: Value) -> Value:
        """The elements of a beat: those of its last part, and of the parts before it."""
        g = self.geometry
        if not g.sore.part_bits:
            return halves
        part = delayed(m, "part", self.part, self.delay)
        parts = []
        for i in range(g.sore.parts(g.sore.lanes)):
            kept = Signal(len(halves), name=f"kept_{i}", reset_less=True)
            parts.append(Mux(part == i, halves, kept))
            m.d.sync += kept.eq(parts[-1])
        return Cat(parts)
