"""Map lane: where one lane is in the map, and what of its word lies inside."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.turn import less
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.feed import AXES, POSITION_BITS, map_walk
from nofm.rtl.program.sizes import ChipSizes


class MapLane(Unit):
    """Adds a lane's held place to a pass, three cycles later. Throughput: a pass a cycle.

    | port | width | direction | |
    |---|---|---|---|
    | takes | 1 | in | the lane takes part |
    | held, passed | places of `map_walk` | in | the lane's place, and the pass |
    | map_sizes | 3 x 16 | in | of the map along `AXES`, the next cycle |
    | take | bits of `port` | in | elements that are taken, less one, two cycles later |
    | gives, reads | 1 | out | the lane gets something; it comes out of the buffer |
    | at | `activation_bits` | out | address of the first element |
    | inside | port | out | neighbours that are taken and lie inside |
    """

    stages = 3
    """Cycles from a pass to its address."""

    def __init__(self, sizes: ChipSizes) -> None:
        self.port = sizes.port
        self.walk = map_walk(sizes)
        self.place_bits = sum(self.walk.places.values())
        self.take_bits = max(1, (sizes.port - 1).bit_length())
        self.module_name = f"nofm_chip_map_lane_{sizes.port}_{sizes.activation_bits}"
        super().__init__(
            {
                "takes": In(1),
                "held": In(self.place_bits),
                "passed": In(self.place_bits),
                "map_sizes": In(len(AXES) * POSITION_BITS),
                "take": In(self.take_bits),
                "gives": Out(1),
                "reads": Out(1),
                "at": Out(sizes.activation_bits),
                "inside": Out(sizes.port),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        port = self.port
        places = self.walk.places
        held, passed = split(places, self.held), split(places, self.passed)
        place = {
            name: Signal(width, name=f"place_{name}", reset_less=True)
            for name, width in places.items()
        }
        takes = Signal()
        m.d.sync += [takes.eq(self.takes), *(place[n].eq(held[n] + passed[n]) for n in places)]

        # Neighbours from `first` on and below `end` lie inside along the channels.
        size = split(dict.fromkeys(AXES, POSITION_BITS), self.map_sizes)
        first, end = (Signal(range(port + 1), name=n, reset_less=True) for n in ("first", "end"))
        given, found, at = Signal(), Signal(reset_less=True), Signal.like(self.at, reset_less=True)
        c = place["c"].as_signed()
        m.d.sync += [
            first.eq(_clamped(m, "before", -c, port)),
            end.eq(_clamped(m, "beyond", size["c"] - c, port)),
            found.eq(
                Cat(~place[n][-1] & (place[n] < size[n]) for n in AXES if n != "c").all() & takes
            ),
            given.eq(takes),
            at.eq(place["at"]),
        ]
        skipped = less(m, "taken", self.take, port) if port > 1 else [Const(0, 1)]
        inside = Cat(found & (first <= k) & (end > k) & ~skipped[k] for k in range(port))
        m.d.sync += [
            self.inside.eq(inside),
            self.reads.eq(found & (first < end) & (first <= self.take)),
            self.gives.eq(given),
            self.at.eq(at),
        ]
        return m


def _clamped(m: Module, name: str, value: Value, most: int) -> Value:
    """A signed number, but at least 0 and at most `most`."""
    whole = Signal(value.shape(), name=name)
    m.d.comb += whole.eq(value)
    return Mux(whole < 0, 0, Mux(whole >= most, most, whole[: most.bit_length()]))
