"""FP16 and FP32 arithmetic in Verilog against NumPy, bit for bit, at every depth."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import SingleToHalf, half_to_single
from nofm.rtl.arithmetic.float_format import HALF, SINGLE, FloatFormat
from nofm.rtl.arithmetic.half import HalfMultiplier, normalise
from nofm.rtl.arithmetic.multiplier import Multiplier
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.tools.pump import Pump

Array = np.ndarray[Any, Any]

DEPTHS = range(1, 7)


def floats(bits: Array) -> Array:
    return bits.view(f"f{bits.itemsize}")


def canonical(values: Array) -> Array:
    """Bits of `values`, every NaN the canonical one."""
    nan = {2: HALF, 4: SINGLE}[values.itemsize].nan
    bits = values.view(f"u{values.itemsize}").copy()
    bits[np.isnan(values)] = nan
    return bits


def product(a: Array, b: Array) -> Array:
    return canonical(floats(a).astype(np.float32) * floats(b).astype(np.float32))


def total(a: Array, b: Array) -> Array:
    return canonical(floats(a) + floats(b))


def narrow(wide: Array) -> Array:
    return canonical(floats(wide).astype(np.float16))


def everywhere(a: Array, b: Array) -> Array:
    return np.ones(len(a), np.bool_)


def not_subnormal(a: Array, b: Array) -> Array:
    """Where neither operands nor their sum are subnormal."""
    right = everywhere(a, b)
    for bits in (a, b, total(a, b)):
        size = floats(np.abs(floats(bits)))
        right &= ~((size > 0) & (size < np.finfo(np.float32).smallest_normal))
    return right


@dataclass(frozen=True)
class Kind:
    """A kind of unit: what it is at a depth, its operands, and what NumPy says of them."""

    make: Callable[[int], Any]
    form: FloatFormat
    result: str
    expected: Callable[..., Array]
    operands: tuple[str, ...] = ("a", "b")
    defined: Callable[[Array, Array], Array] = everywhere


KINDS = {
    "half product": Kind(HalfMultiplier, HALF, "product", product),
    "product": Kind(Multiplier, SINGLE, "product", product),
    "sum": Kind(lambda depth: Adder(depth, True), SINGLE, "sum", total),
    "normal sum": Kind(
        lambda depth: Adder(depth, False), SINGLE, "sum", total, defined=not_subnormal
    ),
    "narrow": Kind(SingleToHalf, SINGLE, "narrow", narrow, operands=("wide",)),
}
TAKE_TWO = [name for name, kind in KINDS.items() if len(kind.operands) == 2]


class Depths(Unit):
    """A kind of unit at several depths, on the same operands: results at outputs d1, d2, ..."""

    def __init__(self, kind: Kind, depths: range) -> None:
        self.kind, self.depths = kind, depths
        first = kind.make(depths[0]).module_name
        self.module_name = f"nofm_depths_{first}_to_{depths[-1]}"
        unit = kind.make(1)
        super().__init__(
            {name: In(kind.form.width) for name in kind.operands}
            | {"advance": In(1)}
            | {f"d{depth}": Out(len(getattr(unit, kind.result))) for depth in depths}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for depth in self.depths:
            unit = self.kind.make(depth)
            place(m, platform, f"unit_{depth}", unit)
            for name in self.kind.operands:
                operand: Value = getattr(self, name)
                if isinstance(unit, HalfMultiplier):
                    operand = normalise(m, f"{name}_{depth}", operand)
                m.d.comb += getattr(unit, name).eq(operand)
            m.d.comb += [
                unit.advance.eq(self.advance),
                getattr(self, f"d{depth}").eq(getattr(unit, self.kind.result)),
            ]
        return m


class Widen(Unit):
    """`half_to_single` as a unit."""

    clocked = False
    module_name = "nofm_widen"

    def __init__(self) -> None:
        super().__init__({"half": In(16), "single": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.single.eq(half_to_single(m, "half", self.half))
        return m


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    """Where compiled units are kept, from one run to the next."""
    return pytestconfig.cache.mkdir("pump")


def check(kind: Kind, pump: Pump, depths: range, freeze: float, *operands: Array) -> None:
    """Every result at every depth is NumPy's."""
    names = dict(zip(kind.operands, operands, strict=True))
    with np.errstate(all="ignore"):
        expected = kind.expected(*operands)
        defined = kind.defined(operands[0], operands[-1])
    results = pump(freeze=freeze, **names)
    assert defined.mean() > 0.25
    for depth in depths:
        wrong = np.flatnonzero((results[f"d{depth}"] != expected) & defined)[:4]
        shown = [[hex(x[i]) for x in (*operands, results[f"d{depth}"], expected)] for i in wrong]
        assert shown == [], f"at depth {depth}: operands, result, expected"


@functools.cache
def pump_of(kind: Kind, depths: range, folder: Path) -> Pump:
    return Pump(Depths(kind, depths), {f"d{depth}": depth for depth in depths}, folder)


def corners(form: FloatFormat) -> list[int]:
    """Every class of number, its ends and the neighbours of its ends, in both signs."""
    unit, half_range = 1 << form.fraction_bits, form.bias
    infinity = form.infinite_exponent * unit
    sizes = [0, 1, 2, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 2, unit - 1]
    # The smallest normal number, one, the largest number: each with what lies around it.
    for exponent in (1, 2, half_range - 1, half_range, half_range + 1, form.infinite_exponent - 1):
        sizes += [exponent * unit + rest for rest in (0, 1, 2, unit // 2, unit - 2, unit - 1)]
    # Distances at which a bit becomes the guard, the round or the sticky bit.
    sizes += [(half_range + i) * unit for i in range(-form.fraction_bits - 4, form.fraction_bits)]
    sizes += [infinity, infinity + 1, infinity + unit // 2, infinity + unit - 1]
    kept = sorted({size for size in sizes if 0 <= size < 2 * infinity})
    return [sign << (form.width - 1) | size for size in kept for sign in (0, 1)]


def fractions(rng: np.random.Generator, count: int, bits: int) -> Array:
    """Fractions: any, with the lower bits all 0, or all 1, from a random bit on."""
    any_bits = rng.integers(0, 1 << bits, count)
    low = (1 << rng.integers(0, bits + 1, count)) - 1
    return np.choose(rng.integers(0, 3, count), [any_bits, any_bits & ~low, any_bits | low])


def pairs(rng: np.random.Generator, count: int, form: FloatFormat) -> tuple[Array, Array]:
    """Pairs that try every path: any bits, close exponents, cancellation, products at the ends."""
    bits, top = form.fraction_bits, form.infinite_exponent
    a, fraction = rng.integers(0, top + 1, count), fractions(rng, count, bits)
    near = fraction + rng.integers(-3, 4, count)
    kind = rng.integers(0, 5, count)
    b = np.choose(
        kind,
        [
            rng.integers(0, top + 1, count),
            a + rng.integers(-bits - 4, bits + 5, count),
            a + rng.integers(-1, 2, count),
            form.bias - a + rng.integers(-bits - 3, 4, count),
            form.bias - a + top + rng.integers(-3, 3, count),
        ],
    )
    other = np.where(kind == 2, near & ((1 << bits) - 1), fractions(rng, count, bits))
    signs = rng.integers(0, 2, (2, count))

    def number(sign: Array, exponent: Array, of: Array) -> Array:
        exponent = np.clip(exponent, 0, top)
        return (sign << (form.width - 1) | exponent << bits | of).astype(f"u{form.width // 8}")

    return number(signs[0], a, fraction), number(signs[1], b, other)


def random_operands(seed: int, count: int, kind: Kind) -> tuple[Array, ...]:
    return pairs(np.random.default_rng(seed), count, kind.form)[: len(kind.operands)]


@pytest.mark.parametrize("name", TAKE_TWO)
def test_every_corner_with_every_other(name: str, folder: Path) -> None:
    kind = KINDS[name]
    a, b = np.array(list(itertools.product(corners(kind.form), repeat=2))).T
    dtype = f"u{kind.form.width // 8}"
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, a.astype(dtype), b.astype(dtype))


@pytest.mark.parametrize(("freeze", "count"), [(0.0, 120_000), (0.3, 20_000)])
@pytest.mark.parametrize("name", KINDS)
def test_random_operands(name: str, freeze: float, count: int, folder: Path) -> None:
    kind = KINDS[name]
    operands = random_operands(count, count, kind)
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, freeze, *operands)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_random_operands(name: str, folder: Path) -> None:
    kind = KINDS[name]
    pump = pump_of(kind, DEPTHS, folder)
    for seed in range(2, 14):
        check(kind, pump, DEPTHS, 0.05, *random_operands(seed, 1_000_000, kind))


def half_pairs(first: int, stride: int, count: int) -> tuple[Array, Array]:
    """Pairs number `first`, `first` + `stride`, ... of the 2^32 pairs of halves."""
    number = first + stride * np.arange(count, dtype=np.uint64)
    return (number >> 16).astype(np.uint16), number.astype(np.uint16)


def test_products_of_halves_strided(folder: Path) -> None:
    kind, stride = KINDS["half product"], 4093
    pairs = half_pairs(17, stride, 2**32 // stride)
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, *pairs)


@pytest.mark.slow
def test_products_of_halves_finely_strided(folder: Path) -> None:
    kind, depths, stride, block = KINDS["half product"], range(2, 3), 37, 2**22
    pump = pump_of(kind, depths, folder)
    for first in range(5, 2**32 - stride * block, stride * block):
        check(kind, pump, depths, 0.0, *half_pairs(first, stride, block))


def test_singles_to_halves_strided(folder: Path) -> None:
    kind, stride = KINDS["narrow"], 4093
    wide = np.arange(11, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, wide)


def test_singles_to_halves_around_every_half(folder: Path) -> None:
    """Every half, every midpoint of two, and their neighbours in FP32."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves + np.append(halves[1:], np.float32(65536))) / 2
    bits = np.concatenate([halves, middles]).view(np.uint32)
    near = np.concatenate([bits + np.uint32(step) for step in (0, 1, 2, 2**32 - 1, 2**32 - 2)])
    kind = KINDS["narrow"]
    both = np.concatenate([near, near ^ np.uint32(1 << 31)])
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, both)


@pytest.mark.slow
def test_every_single_to_half(folder: Path) -> None:
    kind, depths, block = KINDS["narrow"], range(2, 3), 2**24
    pump = pump_of(kind, depths, folder)
    for first in range(0, 2**32, block):
        check(kind, pump, depths, 0.0, np.arange(first, first + block).astype(np.uint32))


def test_every_half_to_single(folder: Path) -> None:
    halves = np.arange(2**16, dtype=np.uint16)
    results = Pump(Widen(), {"single": 0}, folder)(half=halves)
    expected = canonical(halves.view(np.float16).astype(np.float32))
    assert np.array_equal(results["single"], expected)


def test_sums_of_products_need_no_subnormals(folder: Path) -> None:
    """Dot products of the smallest halves: no partial sum is subnormal, and all have their bits."""
    rng = np.random.default_rng(3)
    lanes, steps = 10_000, 16
    exponents = rng.integers(0, 4, (2, steps, lanes))
    a, b = (
        (rng.integers(0, 2, (2, steps, lanes)) << 15 | exponents << 10)
        | fractions(rng, exponents.size, 10).reshape(exponents.shape)
    ).astype(np.uint16)
    multiply = pump_of(KINDS["half product"], range(2, 3), folder)
    add = pump_of(KINDS["normal sum"], range(3, 4), folder)
    sums, expected = np.zeros(lanes, np.uint32), np.zeros(lanes, np.float32)
    for left, right in zip(a, b, strict=True):
        sums = add(a=sums, b=multiply(a=left, b=right)["d2"])["d3"]
        expected += floats(left).astype(np.float32) * floats(right).astype(np.float32)
        assert not np.any((expected != 0) & (np.abs(expected) < 2.0**-48))
        assert np.array_equal(np.ldexp(expected, 48) % 1, np.zeros(lanes))
        assert np.array_equal(sums, expected.view(np.uint32))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (HalfMultiplier, "multiplier"),
        (Multiplier, "multiplier"),
        (lambda depth: Adder(depth, False), "adder"),
        (SingleToHalf, "conversion"),
    ],
)
@pytest.mark.parametrize("depth", [0, -1, 65, True, 2.0])
def test_a_depth_that_is_none(make: Callable[[Any], Unit], what: str, depth: Any) -> None:
    with pytest.raises(InputError) as error:
        make(depth)
    assert str(error.value) == f"{what} depth must be a whole number from 1 to 64, not {depth!r}"


def test_units_of_different_hardware_have_different_names() -> None:
    units = [kind.make(depth) for kind in KINDS.values() for depth in (*DEPTHS, 64)]
    units += [Adder(3, True, HALF), Adder(3, False, HALF), Multiplier(3, HALF)]
    names = [unit.module_name for unit in units]
    assert len(set(names)) == len(names)
    assert all(unit.delay == unit.depth for unit in units)
