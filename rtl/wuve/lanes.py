"""The lanes of WUVE, side by side."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.wuve.geometry import Geometry
from nofm.rtl.wuve.job import HYPER_PARAMETERS
from nofm.rtl.wuve.lane import Lane
from nofm.rtl.wuve.stream import GIVEN, UPDATED


class Lanes(Unit):
    """All lanes: a beat in, a beat out.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | when low, nothing changes |
    | by | `HYPER_PARAMETERS` | in | FP32 lr, mu, wd; steady in a job |
    | given | lanes x `GIVEN` | in | w, v, g of each lane, lane 0 lowest |
    | updated | lanes x `UPDATED` | out | w', v', h of each lane, lane 0 lowest |

    Latency: that of a lane. Throughput: a beat a cycle.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = f"nofm_wuve_lanes_{g.suffix}"
        super().__init__(
            {
                "advance": In(1),
                "by": In(sum(HYPER_PARAMETERS.values())),
                "given": In(g.lanes * sum(GIVEN.values())),
                "updated": Out(g.lanes * sum(UPDATED.values())),
            }
        )

    @property
    def delay(self) -> int:
        """Cycles from a beat to its results."""
        return self.geometry.latency_cycles

    # The lanes have all the registers.
    def elaborate(self, platform: Any) -> Module:
        m = Module()
        by = split(HYPER_PARAMETERS, self.by)
        width = sum(GIVEN.values())
        updated = []
        for i in range(self.geometry.lanes):
            place(m, platform, f"lane_{i}", lane := Lane(self.geometry.depths))
            given = split(GIVEN, self.given[width * i : width * (i + 1)])
            m.d.comb += [
                lane.advance.eq(self.advance),
                lane.learning_rate.eq(by["learning_rate"]),
                lane.momentum_factor.eq(by["momentum"]),
                lane.weight_decay.eq(by["weight_decay"]),
                lane.weight.eq(given["weight"]),
                lane.momentum.eq(given["momentum"]),
                lane.gradient.eq(given["gradient"]),
            ]
            results = {
                "weight": lane.new_weight,
                "momentum": lane.new_momentum,
                "half": lane.new_half,
            }
            updated += [results[name] for name in UPDATED]
        m.d.comb += self.updated.eq(Cat(updated))
        return m
