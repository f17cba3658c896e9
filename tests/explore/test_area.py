"""What many designs take of a device: one by one, all at once, and the buffers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.design_table import DesignTable
from nofm.explore.area import KINDS, by_part, device_fits, parameters, resources
from nofm.kernels.errors import InputError
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.devices import DEVICES, bram36, uram288
from nofm.rtl.synthesis.parts import ALL
from nofm.rtl.synthesis.samples import stored
from nofm.rtl.synthesis.terms import LUT_WORDS

RANGES = {
    "array.rows": (1, 64),
    "array.columns": (1, 64),
    "array.interleave": (1, 32),
    "array.multiplier_cycles": (1, 8),
    "array.adder_cycles": (1, 8),
    "array.accumulator_cycles": (1, 5),
    "array.group_port_elements": (1, 32),
    "array.weight_registers": (4, 16),
    "sore.lanes": (2, 128),
    "sore.latency_cycles": (1, 8),
    "wuve.lanes": (1, 128),
    "wuve.latency_cycles": (6, 60),
    "buffers.activation_kib": (1, 8192),
    "buffers.weight_kib": (1, 8192),
    "buffers.output_kib": (8, 8192),
}

PATTERNS = (["2:4"], ["1:2", "4:8"], ["1:16", "2:4", "4:32"], [])


def designs(count: int, seed: int = 1) -> DesignTable:
    """Random designs, of which all entries vary that resources depend on."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(least, most + 1, count) for name, (least, most) in RANGES.items()}
    patterns = np.empty(count, object)
    for i, k in enumerate(rng.integers(len(PATTERNS), size=count)):
        patterns[i] = PATTERNS[k]
    return DesignTable(load("sat-4x4"), columns | {"array.patterns": patterns}, count)


def test_all_at_once_are_each_alone() -> None:
    table = designs(60)
    together = resources(table)
    assert list(together) == list(KINDS)
    for i in range(60):
        alone = resources(DesignTable(table.accelerator(i), {}, 1))
        assert {kind: alone[kind][0] for kind in KINDS} == {k: together[k][i] for k in KINDS}


def test_engines_get_the_parameters_of_the_generators() -> None:
    table = designs(60)
    given = parameters(table)
    for i in range(60):
        machine = table.accelerator(i)
        geometry = Geometry.of(machine)
        assert {name: v[i] for name, v in given["stce"].items()} == vars(geometry)
        if machine.array.patterns:
            from nofm.rtl.sore.geometry import Geometry as SoreGeometry

            sore = vars(SoreGeometry.of(machine))
            assert {name: v[i] for name, v in given["sore"].items()} == {
                name: sore[name] for name in given["sore"]
            }


def test_the_whole_is_the_sum_of_its_parts() -> None:
    table = designs(100)
    parts, whole = by_part(table), resources(table)
    assert list(parts) == [
        *("array", "sore", "wuve"),
        *("activation buffer", "weight buffer", "output buffer"),
    ]
    for kind in KINDS:
        assert whole[kind].dtype == np.float64
        assert (whole[kind] == sum(part[kind] for part in parts.values())).all()
    for name, part in parts.items():
        if name.endswith("buffer"):
            assert not any(part[kind].any() for kind in ("lut", "ff", "dsp"))
            # One kind of block or the other.
            assert ((part["bram"] > 0) != (part["uram"] > 0)).all()


def test_without_patterns_there_is_no_sore() -> None:
    table = designs(50)
    bare = np.array([not found for found in table.column("array.patterns")])
    taken = by_part(table)["sore"]
    assert bare.any()
    assert not taken["lut"][bare].any()
    assert taken["lut"][~bare].all()


# More columns share the output buffer, of which each then has less.
@pytest.mark.parametrize("name", ["array.rows", "sore.lanes", "wuve.lanes", "array.interleave"])
def test_more_of_anything_never_takes_less_logic(name: str) -> None:
    table = designs(500)
    more = DesignTable(table.base, table.columns | {name: table.columns[name] + 1}, len(table))
    before, after = resources(table), resources(more)
    for kind in ("lut", "ff", "dsp"):
        assert (after[kind] >= before[kind]).all()


@pytest.mark.parametrize("name", ["activation", "weight", "output"])
def test_more_bytes_never_take_fewer_blocks(name: str) -> None:
    table = designs(500)
    column = f"buffers.{name}_kib"
    more = DesignTable(table.base, table.columns | {column: table.columns[column] * 2}, 500)

    def share(designs: DesignTable) -> np.ndarray:
        part = by_part(designs)[f"{name} buffer"]
        has = DEVICES["xcvu9p"]
        return part["bram"] / has["bram"] + part["uram"] / has["uram"]

    assert (share(more) >= share(table)).all()


def naive_bram(words: int, bits: int) -> float:
    """The fewest RAMB18E2 of one shape that reach from word to word and bit to bit, halved."""
    shapes = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
    return min(math.ceil(words / deep) * math.ceil(bits / wide) for deep, wide in shapes) / 2


def naive_uram(words: int, bits: int) -> int:
    """URAM288 that are filled word by word."""
    blocks = set()
    for word in range(words):
        at = word // (72 // bits) if bits <= 72 else word
        blocks.add(at // 4096)
    return len(blocks) * math.ceil(bits / 72)


def test_blocks_of_a_memory() -> None:
    rng = np.random.default_rng(3)
    words, bits = rng.integers(1, 40_000, 60), rng.integers(1, 300, 60)
    found = bram36(words, bits), uram288(words, bits)
    for i, (deep, wide) in enumerate(zip(words.tolist(), bits.tolist(), strict=True)):
        assert (found[0][i], found[1][i]) == (naive_bram(deep, wide), naive_uram(deep, wide))


def test_the_accumulation_buffer_takes_the_blocks_that_synthesis_gave_it() -> None:
    """The arithmetic that the buffers are counted by, held against a memory that exists."""
    columns = [
        sample
        for sample in stored()
        # Fewer sums are in look-up tables.
        if sample.part == "column edge" and sample.parameters["accumulator_words"] > LUT_WORDS
    ]
    words = [sample.parameters["accumulator_words"] for sample in columns]
    assert len(set(words)) > 5
    assert {w: s.resources.bram for w, s in zip(words, columns, strict=True)} == dict(
        zip(words, bram36(np.array(words), np.full(len(words), 32)).tolist(), strict=True)
    )


def test_the_buffers_of_the_paper_s_array_by_hand() -> None:
    """32 rows and columns; 2 MiB each. Activations: 64 memories of 2,048 words of 8 x 16 bits,
    each two URAM side by side, or 8 RAMB36. Weights: 64 of 13,108 words of 16 + 4 bits, three of
    which share a word of a URAM. Sums: 32 more memories of 8,192 x 32, two of which share one."""
    parts = by_part(DesignTable(load("sat-32x32"), {}, 1))
    found = {
        name: (part["bram"][0], part["uram"][0])
        for name, part in parts.items()
        if name.endswith("buffer")
    }
    assert found == {
        "activation buffer": (0, 64 * 2),
        "weight buffer": (0, 64 * 2),
        "output buffer": (0, 32),
    }
    assert parts["array"]["bram"][0] == 32 * 8


def test_designs_that_a_device_has_room_for() -> None:
    table = designs(300)
    taken = resources(table)
    fits = device_fits(taken, "xcvu9p")
    assert 0 < fits.sum() < 300
    for i in range(300):
        assert fits[i] == all(taken[kind][i] <= DEVICES["xcvu9p"][kind] for kind in KINDS)
    for kind in KINDS:
        full = {each: np.full(1, DEVICES["xcvu9p"][each] * 1.0) for each in KINDS}
        assert device_fits(full).all()
        full[kind] += 0.5
        assert not device_fits(full).any()


def test_kept_out_engines_are_predicted_as_the_estimate_says() -> None:
    """Whole arrays that were synthesized, asked for as designs."""
    kept_out = [s for s in stored() if (s.engine, s.part) == ("stce", ALL)]
    for sample in kept_out:
        given = sample.parameters
        if given["registers"] > given["group"] // 2:
            continue
        kib = given["accumulator_words"] * given["columns"] * 8 / 1024
        if kib != int(kib):
            continue
        machine = load("sat-4x4").with_values(
            **{
                "array.rows": given["rows"],
                "array.columns": given["columns"],
                "array.interleave": given["sums"],
                "array.weight_registers": given["registers"],
                "array.patterns": [f"1:{given['group']}"],
                "array.group_port_elements": given["port"],
                "array.multiplier_cycles": given["multiplier_cycles"],
                "array.adder_cycles": given["adder_cycles"],
                "array.accumulator_cycles": given["accumulator_cycles"],
                "buffers.output_kib": int(kib),
            }
        )
        array = by_part(DesignTable(machine, {}, 1))["array"]
        for kind, worst in (("lut", 0.05), ("ff", 0.02), ("dsp", 0), ("bram", 0)):
            real = getattr(sample.resources, kind)
            assert abs(array[kind][0] - real) <= worst * real


def test_bad_input() -> None:
    table = designs(2)
    with pytest.raises(InputError) as caught:
        resources(table, "xcvu9")
    assert str(caught.value) == "unknown device 'xcvu9': did you mean xcvu9p? (known: xcvu9p)"
    with pytest.raises(InputError) as caught:
        device_fits(resources(table), "none")
    assert str(caught.value) == "unknown device 'none': (known: xcvu9p)"
    formats = np.array(["fp16", "int8"])
    mixed = DesignTable(load("sat-4x4"), {"formats.operand": formats}, 2)
    with pytest.raises(InputError) as caught:
        resources(mixed)
    assert str(caught.value) == (
        "what hardware takes is known for formats.operand = fp16 only, not int8"
    )
