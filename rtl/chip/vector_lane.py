"""A lane of the vector unit: one element a cycle, and its places of the line."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import SingleToHalf, half_to_single
from nofm.rtl.arithmetic.float_format import HALF, SINGLE
from nofm.rtl.arithmetic.multiplier import Multiplier
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.vector import OPCODE_BITS, OPERATIONS
from nofm.rtl.wuve.lane import delayed

DOING = {"opcode": OPCODE_BITS, "relu": 1, "scale": 32}
"""What stays in a job."""


def step_fields(geometry: VectorGeometry) -> dict[str, int]:
    """What the lanes must know of a cycle, and its width.

    valid: whether there are elements.
    row: their place in the line.
    held, second: they are held; as the second held run.
    first: they are those of the round's first pass.
    """
    return {"valid": 1, "row": geometry.row_bits, "held": 1, "second": 1, "first": 1}


def keys(m: Module, name: str, half: Value) -> Value:
    """An unsigned number [16] that orders as the FP16 number `half` does: both zeros alike, every
    NaN alike and above all else."""
    magnitude = half[:-1]
    key = Signal(HALF.width, name=f"{name}_key")
    nan = HALF.exponent(half).all() & HALF.fraction(half).any()
    m.d.comb += key.eq(
        Mux(
            nan,
            (1 << HALF.width) - 1,
            Mux(half[-1] & magnitude.any(), Cat(~magnitude, 0), Cat(magnitude, 1)),
        )
    )
    return key


def _told(m: Module, name: str, value: Value, cycles: int) -> Value:
    """`value` of `cycles` cycles before; 0 after reset."""
    for cycle in range(cycles):
        register = Signal(len(value), name=f"{name}_{cycle}")
        m.d.sync += register.eq(value)
        value = register
    return value


class VectorLane(Unit):
    """What `nofm.rtl.program.vector` says, for the elements of one lane.

    In the cycle in which elements come the line is read; in the next one operands are chosen, and
    what is not a sum goes to the line; then come the adder, behind which sums go to the line, the
    product with the scale, and FP16.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | when low, nothing changes |
    | doing | `DOING` | in | steady in a job |
    | step | `step_fields` | in | what the elements are |
    | a, b | 16 | in | FP16 elements |
    | result | 16 | out | FP16 |

    Latency: `latency_cycles` of the geometry. Throughput: an element a cycle. What is written for
    a row is read `line_cycles` later.
    """

    def __init__(self, geometry: VectorGeometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_vector_lane_" + "_".join(map(str, (g.rows, *astuple(g.depths))))
        super().__init__(
            {
                "advance": In(1),
                "doing": In(sum(DOING.values())),
                "step": In(sum(step_fields(g).values())),
                "a": In(HALF.width),
                "b": In(HALF.width),
                "result": Out(HALF.width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g, of = self.geometry, self.geometry.depths
        doing, step = split(DOING, self.doing), split(step_fields(g), self.step)
        m.submodules.line = line = Memory(shape=SINGLE.width, depth=g.rows, init=[])
        read, write = line.read_port(), line.write_port()
        m.d.comb += [read.addr.eq(step["row"]), read.en.eq(1)]

        does = {name: doing["opcode"] == operation.opcode for name, operation in OPERATIONS.items()}
        # What came a cycle before, beside what the line held for it.
        now = {name: _told(m, f"now_{name}", value, 1) for name, value in step.items()}
        a, b = delayed(m, "a", self.a, 1), delayed(m, "b", self.b, 1)
        held, second = read.data[:16], read.data[16:]
        p, q, found = Signal(HALF.width), Signal(HALF.width), Signal()
        key = {n: keys(m, n, v) for n, v in (("a", a), ("held", held))}
        zero, above = Const(1 << HALF.width - 1), Signal()
        m.d.comb += [
            p.eq(a),
            q.eq(zero),
            above.eq((key["a"] > zero) & ~key["a"].all()),
            found.eq(key["a"] == key["held"]),
        ]
        with m.If(does["add"]):
            m.d.comb += q.eq(b)
        with m.If(does["add_held"]):
            m.d.comb += q.eq(held)
        with m.If(does["gate"]):
            m.d.comb += p.eq(Mux(above, b, 0))
        with m.If(does["largest"] & ~now["first"] & ~(key["a"] > key["held"])):
            m.d.comb += p.eq(held)
        with m.If(does["spread"]):
            m.d.comb += p.eq(held)
        with m.If(does["route"]):
            m.d.comb += p.eq(Mux(found, second, 0))
        wide = {n: half_to_single(m, n, v) for n, v in (("p", p), ("q", q))}
        summed = does["sum"] & ~now["first"]
        left, right = Signal(SINGLE.width), Signal(SINGLE.width)
        m.d.sync += [left.eq(wide["p"]), right.eq(Mux(summed, read.data, wide["q"]))]

        place(m, platform, "add", adder := Adder(of.add, subnormals=False))
        place(m, platform, "scale", scaler := Multiplier(of.scale))
        place(m, platform, "half", half := SingleToHalf(of.half))
        nan = HALF.exponent(half.narrow).all() & HALF.fraction(half.narrow).any()
        m.d.comb += [
            *(unit.advance.eq(self.advance) for unit in (adder, scaler, half)),
            adder.a.eq(left),
            adder.b.eq(right),
            scaler.a.eq(adder.sum),
            scaler.b.eq(doing["scale"]),
            half.wide.eq(scaler.product),
            self.result.eq(Mux(doing["relu"] & half.narrow[-1] & ~nan, 0, half.narrow)),
        ]

        # The line gets what is held, the largest, what is found; sums come from behind the adder.
        kept = now["valid"] & (now["held"] | does["largest"] | does["route"])
        early = _told(m, "early", kept & ~does["sum"], 1)
        sums = _told(m, "sums", now["valid"] & does["sum"], 1 + of.add)
        row = delayed(m, "row", now["row"], 1)
        low = Mux(now["held"], Mux(now["second"], held, b), Mux(does["largest"], p, held))
        high = Mux(now["held"], b, Mux(found, 0, second))
        m.d.comb += [
            write.en.eq((early | sums) & self.advance),
            write.addr.eq(Mux(does["sum"], delayed(m, "sum_row", row, of.add), row)),
            write.data.eq(Mux(does["sum"], adder.sum, delayed(m, "keeps", Cat(low, high), 1))),
        ]
        return EnableInserter(self.advance)(m)
