"""FP16 and FP32 arithmetic in Verilog against NumPy, bit for bit, at every depth."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Fragment, Module, Value
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.arithmetic import normalise as normalisation
from nofm.rtl.arithmetic import rounding, shift
from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import Narrow, SingleToHalf, half_to_single
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


class Beside(Unit):
    """Units of one kind, on the same operands: the result of each at the output of its name."""

    def __init__(self, name: str, kind: Kind, units: Mapping[str, Unit]) -> None:
        self.module_name, self.kind, self.units = name, kind, units
        super().__init__(
            {name: In(kind.form.width) for name in kind.operands}
            | {"advance": In(1)}
            | {name: Out(len(getattr(unit, kind.result))) for name, unit in units.items()}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        halves = self.kind.make is HalfMultiplier
        for name, unit in self.units.items():
            place(m, platform, f"unit_{name}", unit)
            for port in self.kind.operands:
                operand: Value = getattr(self, port)
                if halves:
                    operand = normalise(m, f"{port}_{name}", operand)
                m.d.comb += getattr(unit, port).eq(operand)
            m.d.comb += [
                unit.advance.eq(self.advance),
                getattr(self, name).eq(getattr(unit, self.kind.result)),
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


def wanted(kind: Kind, operands: tuple[Array, ...]) -> tuple[Array, Array]:
    """NumPy's results, and where they count."""
    with np.errstate(all="ignore"):
        return kind.expected(*operands), kind.defined(operands[0], operands[-1])


def check(kind: Kind, pump: Pump, depths: range, freeze: float, *operands: Array) -> None:
    """Every result at every depth is NumPy's."""
    expected, defined = wanted(kind, operands)
    results = pump(freeze=freeze, **dict(zip(kind.operands, operands, strict=True)))
    assert defined.mean() > 0.25
    for depth in depths:
        wrong = np.flatnonzero((results[f"d{depth}"] != expected) & defined)[:4]
        shown = [[hex(x[i]) for x in (*operands, results[f"d{depth}"], expected)] for i in wrong]
        assert shown == [], f"at depth {depth}: operands, result, expected"


@functools.cache
def pump_of(kind: Kind, depths: range, folder: Path) -> Pump:
    units = {f"d{depth}": kind.make(depth) for depth in depths}
    name = f"nofm_depths_{units[f'd{depths[0]}'].module_name}_to_{depths[-1]}"
    return Pump(Beside(name, kind, units), {f"d{depth}": depth for depth in depths}, folder)


def corners(form: FloatFormat) -> list[int]:
    """Every class of number, its ends and the neighbours of its ends, in both signs."""
    unit, half_range = 1 << form.fraction_bits, form.bias
    infinity = form.infinite_exponent * unit
    sizes = [0, 1, 2, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 2, unit - 1]
    # The smallest normal number, one, the largest number: each with what lies around it. Below one
    # also what makes products of it subnormal by two places, so that a bit leaves.
    around_one = range(half_range - 2, half_range + 2)
    for exponent in (1, 2, *around_one, form.infinite_exponent - 1):
        sizes += [exponent * unit + rest for rest in (0, 1, 2, unit // 2, unit - 2, unit - 1)]
    # Distances at which a bit becomes the guard, the round or the sticky bit.
    sizes += [(half_range + i) * unit for i in range(-form.fraction_bits - 4, form.fraction_bits)]
    sizes += [infinity, infinity + 1, infinity + unit // 2, infinity + unit - 1]
    kept = sorted({size for size in sizes if 0 <= size < 2 * infinity})
    return [sign << (form.width - 1) | size for size in kept for sign in (0, 1)]


def corner_pairs(form: FloatFormat) -> tuple[Array, Array]:
    """Every corner with every other."""
    a, b = np.array(list(itertools.product(corners(form), repeat=2))).T
    return a.astype(f"u{form.width // 8}"), b.astype(f"u{form.width // 8}")


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
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, *corner_pairs(kind.form))


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


def around_every_half() -> Array:
    """Every half, every midpoint of two, and their neighbours in FP32."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves + np.append(halves[1:], np.float32(65536))) / 2
    bits = np.concatenate([halves, middles]).view(np.uint32)
    near = np.concatenate([bits + np.uint32(step) for step in (0, 1, 2, 2**32 - 1, 2**32 - 2)])
    return np.concatenate([near, near ^ np.uint32(1 << 31)])


def test_singles_to_halves_around_every_half(folder: Path) -> None:
    kind = KINDS["narrow"]
    check(kind, pump_of(kind, DEPTHS, folder), DEPTHS, 0.0, around_every_half())


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


# By class and method, or module and function: what is changed, and into what.
Changes = dict[tuple[Any, str], dict[str, tuple[str, str]]]

ROUNDING: Changes = {
    (rounding, "round_to"): {
        "no round bit": ("v.significand[rest - 1] & (", "0 & ("),
        "no sticky bit": ("| v.significand[: rest - 1].any()", ""),
        "ties away from even": ("fraction[0] | v.significand[: rest - 1].any()", "1"),
        "no overflow": ("infinite | (over & ~zero)", "infinite"),
        "overflow too early": (">= form.infinite_exponent", ">= form.infinite_exponent - 1"),
        "subnormal results flushed": ("significand=shifted", "significand=Mux(low, 0, shifted)"),
        "subnormal results doubled": ("(1 - exponent)", "(0 - exponent)"),
        "small results come back": (
            "Mux(down[reach:].any(), (1 << reach) - 1, down[:reach])",
            "down[:reach]",
        ),
        "no carry into the exponent": (
            "Cat(fraction, v.exponent) + increment",
            "Cat((fraction + increment)[:bits], v.exponent)",
        ),
        "zero without its sign": ("Cat(size, v.sign)", "Cat(size, v.sign & size.any())"),
        "NaN is infinity": ("invalid=invalid", "invalid=Const(0, 1)"),
    },
    (shift, "shift_right_sticky"): {
        "bits that leave are lost": ("value[0] | lost", "value[0]"),
    },
}

NEAR_AND_FAR: Changes = {
    (Adder, "_normalise"): {
        "no round bit": ("return v.total[last - 1] &", "return 0 &"),
        "no sticky bit": ("| v.total[: last - 1].any()", ""),
        "ties away from even": ("v.total[last] | v.total[: last - 1].any()", "1"),
        "no overflow": ("v.infinite | (v.carry & v.up.all())", "v.infinite"),
        "near path off by one": ("v.down - v.near_shift", "v.exponent - v.near_shift"),
    },
    (shift, "shift_right_sticky"): {
        "bits that leave are lost": ("value[0] | lost", "value[0]"),
        "a long shift wraps": ("if len(amount) > levels", "if False"),
    },
    (Adder, "_round"): {
        "no carry into the exponent": (
            "Cat(v.fraction, v.exponent) + v.increment",
            "Cat((v.fraction + v.increment)[: form.fraction_bits], v.exponent)",
        ),
        "infinity keeps a fraction": ("& ~v.infinite.replicate(form.fraction_bits)", ""),
    },
    (Adder, "_order"): {
        "infinity minus infinity": ("| (v.special_a & v.special_b & subtract)", ""),
        "NaN on the right": ("v.nan_a | v.nan_b", "v.nan_a"),
        "infinity on the left": ("v.special_a | v.special_b", "v.special_b"),
        "never swapped": ("v.a_minus_b[-1]", "Const(0, 1)"),
        "exponent of the smaller": (
            "Mux(swap, v.exponent_b, v.exponent_a)",
            "Mux(swap, v.exponent_a, v.exponent_b)",
        ),
        "distance of one order only": ("Mux(swap, v.b_minus_a, v.a_minus_b)", "v.a_minus_b"),
    },
    (Adder, "_add"): {
        "sign of a zero": ("v.near_sign & near_one", "v.near_sign"),
        "carry out lost": ("total[-1] & ~v.subtract", "Const(0, 1)"),
        "lost leading bit not seen": ("~total[-2] & v.subtract", "Const(0, 1)"),
        "subtraction without its carry": ("left = Cat(v.subtract,", "left = Cat(Const(0, 1),"),
    },
    (Adder, "_align"): {
        "sign of the other one": ("v.sign ^ negative", "v.sign"),
        "near path a distance too far": ("~v.distance[1:].any()", "~v.distance[2:].any()"),
        "near path not far enough": ("~v.distance[1:].any()", "~v.distance.any()"),
        "near path rounds": ("& ~(size[-1] & v.distance[0])", ""),
        "near operands not aligned": ("Mux(v.distance[0], Cat(v.small, Const(0, 1)),", "Mux(0, 0,"),
    },
    (shift, "_count"): {
        "leading zeros of one half": ("Mux(none_high, low, high)", "high"),
    },
}

SUBNORMAL: Changes = {
    (Adder, "_compare"): {
        "subnormal operands flushed": (
            "Cat(fraction, hidden)",
            "Cat(fraction & hidden.replicate(len(fraction)), hidden)",
        ),
        "subnormal exponent off by one": ("field[0] | ~hidden", "field[0]"),
    },
    (Adder, "_add"): {
        "subnormal difference moved up": ("Mux(normal, zeros, room)", "zeros"),
    },
    (Adder, "_normalise"): {
        "subnormal difference flushed": ("near_fraction, near[1:])", "near_fraction, 0)"),
        "subnormal difference never normal": ("Cat(v.near_size[-1],", "Cat(Const(0, 1),"),
        "subnormal sum is normal": ("Mux(v.total[-1] | v.lost, exponent, 0)", "exponent"),
    },
}

OPERANDS: Changes = {
    (Multiplier, "elaborate"): {
        "zero times infinity": ("invalid | (zero & infinite)", "invalid"),
        "infinity is a number": ("infinite | special", "infinite"),
        "NaN is infinity too": ("special & normal.fraction(operand).any()", "0"),
        "zero is one": ("v.zero, 0,", "0, 0,"),
        "top bit not counted": ("v.exponent.as_signed() + top", "v.exponent.as_signed()"),
        "top bit not moved": ("Mux(top, v.significand,", "Mux(1, v.significand,"),
        "wrong bias": ("form.bias - 2", "form.bias + 1 - 2"),
        "either sign": ("normal.sign(v.a) ^", "normal.sign(v.a) |"),
        "sign of the next product": (
            "normal.sign(v.a) ^ normal.sign(v.b)",
            "self.a[-1] ^ self.b[-1]",
        ),
    },
    (normalisation, "normalise"): {
        "subnormal operands off by one": ("half_range - zeros", "half_range - zeros - 1"),
        "subnormal operands not moved": ("Mux(normal, fraction, shifted)", "fraction"),
    },
    (shift, "_count"): {
        "leading zeros of one half": ("Mux(none_high, low, high)", "high"),
    },
}

HALVES: Changes = {
    (HalfMultiplier, "elaborate"): {
        "zero times infinity": ("invalid | (zero & infinite)", "invalid"),
        "infinity is a number": ("infinite | special", "infinite"),
        "NaN is infinity": ("invalid | (special & fraction.any())", "invalid"),
        "zero is one": ("m.Elif(values.zero)", "m.Elif(0)"),
        "zero without its sign": ("result[:-1].eq(0)", "result.eq(0)"),
        "infinity without its sign": ("result[:-1].eq(SINGLE", "result.eq(SINGLE"),
        "top bit not counted": ("values.exponent + top", "values.exponent"),
        "top bit not moved": ("Mux(top, values", "Mux(1, values"),
        "wrong bias": ("SINGLE.bias - 2", "SINGLE.bias + 1 - 2"),
        "either sign": ("NORMALISED.sign(operands.a) ^", "NORMALISED.sign(operands.a) |"),
        "sign of the next product": (
            "sign=NORMALISED.sign(operands.a)",
            "sign=NORMALISED.sign(self.a)",
        ),
        "lowest bit lost": (
            "significands[0] * significands[1]",
            "(significands[0] * significands[1]) & ~1",
        ),
    },
}

NARROWING: Changes = {
    (Narrow, "elaborate"): {
        "NaN is infinity too": ("special & fraction.any()", "Const(0, 1)"),
        "wrong bias": ("self.narrow_form.bias -", "self.narrow_form.bias + 1 -"),
        "no sign": ("wide.sign(self.wide)", "Const(0, 1)"),
        "last bit dropped": ("Cat(fraction &", "Cat(fraction & -2 &"),
    },
}

CHANGES: dict[str, list[Changes]] = {
    "half product": [HALVES],
    "product": [ROUNDING, OPERANDS],
    "sum": [NEAR_AND_FAR, SUBNORMAL],
    "normal sum": [NEAR_AND_FAR],
    "narrow": [ROUNDING, NARROWING],
}
MUTANTS = {
    kind: {
        name: (*where, *change)
        for table in tables
        for where, changes in table.items()
        for name, change in changes.items()
    }
    for kind, tables in CHANGES.items()
}


class Broken(Unit):
    """A unit that is made while a mutant is in force."""

    def __init__(self, name: str, unit: Unit, breaks: Callable[..., None]) -> None:
        self.module_name, self.unit, self.breaks = name, unit, breaks
        super().__init__(dict(unit.signature.members))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        with pytest.MonkeyPatch.context() as patch:
            self.breaks(patch=patch)
            m.submodules.unit = Fragment.get(self.unit, platform)
        for port, member in self.signature.members.items():
            inner, outer = getattr(self.unit, port), getattr(self, port)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str, folder: Path, mutate: Any) -> None:
    """By operands of the tests above; the sound unit beside them is not."""
    kind, depth = KINDS[name], 3
    sound = kind.make(depth)
    units = {"sound": sound}
    for number, mutant in enumerate(MUTANTS[name].values()):
        breaks = functools.partial(mutate, *mutant)
        units[f"m{number}"] = Broken(f"{sound.module_name}_{number}", kind.make(depth), breaks)
    top = Beside(f"{sound.module_name}_mutants", kind, units)
    pump = Pump(top, dict.fromkeys(units, depth), folder)
    passed = set(units)
    for operands in (
        random_operands(120_000, 120_000, kind),
        corner_pairs(kind.form) if name in TAKE_TWO else (around_every_half(),),
    ):
        expected, defined = wanted(kind, operands)
        results = pump(**dict(zip(kind.operands, operands, strict=True)))
        passed -= {unit for unit in units if ((results[unit] != expected) & defined).any()}
    passed.remove("sound")
    assert [list(MUTANTS[name])[int(unit[1:])] for unit in passed] == []
