"""Programs: the encoder and the decoder, what is refused, and the texts of a format."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.program import descriptors
from nofm.rtl.program.descriptors import (
    FAULTS,
    LONGEST_PAYLOAD,
    MAGIC,
    Operation,
    ProgramFormat,
    checksum,
    sealed,
)
from nofm.rtl.program.encoding import (
    Descriptor,
    ProgramError,
    decode_program,
    encode_program,
)
from nofm.rtl.program.program_text import c_header, describe

SAT = load("sat-4x4")
FORM = ProgramFormat.of(SAT)


def job(name: str, rng: random.Random) -> dict[str, int]:
    unit = next(unit for unit in FORM.units if unit.name == name)
    return {field: rng.getrandbits(bits) for field, bits in unit.fields.items()}


def program(seed: int, count: int) -> list[Descriptor]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        layout = rng.choice(FORM.operations)
        names = [u.name for u in layout.units if not layout.chooses or rng.random() < 0.7]
        wait = tuple(unit.name for unit in FORM.units if rng.random() < 0.3)
        jobs = {name: job(name, rng) for name in names}
        found.append(Descriptor(layout.name, jobs, wait, number == count - 1))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_program_is_read_as_it_was_written(seed: int) -> None:
    wanted = program(seed, 40)
    data = encode_program(FORM, wanted)
    found = decode_program(FORM, data)
    assert found == wanted
    assert encode_program(FORM, found) == data


def plain(wanted: Descriptor) -> list[int]:
    """The words of a descriptor but for its checksum, bit by bit, in another way than by `pack`."""
    layout = next(each for each in FORM.operations if each.name == wanted.operation)
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> i & 1 for i in range(count))

    put(MAGIC, 8)
    put(layout.opcode, 8)
    put(layout.words, 12)
    for number in range(16):
        put(number < len(FORM.units) and FORM.units[number].name in wanted.wait, 1)
    put(wanted.last, 1)
    put(0, 19)
    if len(layout.units) > 1:
        for unit in layout.units:
            put(unit.name in wanted.jobs, 1)
    for unit in layout.units:
        put(0, -len(bits) % 64)
        for name, count in unit.fields.items():
            put(wanted.jobs[unit.name][name] if unit.name in wanted.jobs else 0, count)
    put(0, -len(bits) % 64)
    return [
        sum(bit << i for i, bit in enumerate(bits[at : at + 64])) for at in range(0, len(bits), 64)
    ]


def serial(data: bytes) -> int:
    """CRC-16/IBM-3740, a bit at a time."""
    state = 0xFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = state >> 15 ^ byte >> bit & 1
            state = (state << 1 & 0xFFFF) ^ 0x1021 * top
    return state


def test_words_are_what_the_page_says() -> None:
    for each in program(9, 30):
        words = plain(each)
        crc = serial(struct.pack(f"<{len(words)}Q", *words))
        words[0] |= crc << 48
        last = Descriptor(each.operation, each.jobs, each.wait, True)
        got = encode_program(FORM, [last])
        if each.last:
            assert got == struct.pack(f"<{len(words)}Q", *words)
        assert decode_program(FORM, got) == [last]


def test_up_to_three_flipped_bits_are_told() -> None:
    """All pairs in a header with a short payload, and many triples in the longest descriptor."""
    rng = random.Random(3)
    short = sealed([MAGIC | 7 << 8, rng.getrandbits(64)])
    bits = [(i // 64, 1 << i % 64) for i in range(128)]
    assert checksum(short) == short[0] >> 48
    for a in range(128):
        for b in range(a):
            words = list(short)
            for word, bit in (bits[a], bits[b]):
                words[word] ^= bit
            assert checksum(words) != words[0] >> 48
    long = sealed([rng.getrandbits(64) for _ in range(LONGEST_PAYLOAD + 1)])
    for _ in range(3000):
        words = list(long)
        for at in rng.sample(range(64 * len(words)), 3):
            words[at // 64] ^= 1 << at % 64
        assert checksum(words) != words[0] >> 48


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode_program(FORM, data)
    return str(caught.value)


def words(*given: int) -> bytes:
    return struct.pack(f"<{len(given)}Q", *given)


END = sealed([MAGIC | 1 << 8 | 1 << 44])[0]


def head(
    opcode: int = 1, length: int = 0, wait: int = 0, flags: int = 1, magic: int = MAGIC
) -> int:
    return magic | opcode << 8 | length << 16 | wait << 28 | flags << 44


def barrier(**values: int) -> int:
    return sealed([head(**values)])[0]


PRODUCT = FORM.by_name["product"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"abc", "a program's bytes must be a multiple of 8, not 3"),
        (
            b"",
            "descriptor 0 at byte 0 (unfinished): a program must end with a last descriptor, and "
            "has none",
        ),
        (
            words(barrier(flags=0), barrier(magic=0)),
            "descriptor 1 at byte 8 (magic): magic must be 0xa7, not 0x0",
        ),
        (
            words(barrier(opcode=0xEE)),
            "descriptor 0 at byte 0 (opcode): opcode must be one of 0x1, 0x2, 0x3, 0x4, 0x5, "
            "0x6, 0x7, 0x8, not 0xee",
        ),
        (
            words(barrier(length=1), 0),
            "descriptor 0 at byte 0 (length): length of barrier must be 0 words, not 1",
        ),
        (
            words(barrier(wait=1 << 15)),
            "descriptor 0 at byte 0 (reserved): wait must be below 2^10, not 0x8000",
        ),
        (
            words(barrier(flags=9)),
            "descriptor 0 at byte 0 (reserved): flags must be 0 or 1, not 0x9",
        ),
        (
            words(head(opcode=5, length=12), 1, 2),
            "descriptor 0 at byte 0 (truncated): words of store must be 3 at most, as the program "
            "has no more, not 13",
        ),
        (
            words(END, END),
            "descriptor 0 at byte 0 (trailing): words behind the last descriptor must be 0, not 1",
        ),
        (
            words(barrier(flags=0)),
            "descriptor 0 at byte 0 (unfinished): a program must end with a last descriptor, "
            "and this is none",
        ),
        (
            words(END ^ 1 << 60),
            f"descriptor 0 at byte 0 (checksum): it must be {END >> 48:#06x}, "
            f"not {END >> 48 ^ 1 << 12:#06x}",
        ),
        (
            words(*sealed([head(5, 12), *[0] * 11, 1 << 63])),
            "descriptor 0 at byte 0 (reserved): word 11 of the payload must be below 2^19, "
            "not 0x8000000000000000",
        ),
        (
            words(*sealed([head(4, PRODUCT.words), 0b1011, *[0] * (PRODUCT.words - 2), 5])),
            "",
        ),
        (
            words(*sealed([head(4, PRODUCT.words), 0b1110, 7, *[0] * (PRODUCT.words - 2)])),
            "descriptor 0 at byte 0 (reserved): word 1 of the payload must be 0, as array is not "
            "there, not 0x7",
        ),
    ],
)
def test_what_is_no_program_is_refused(data: bytes, text: str) -> None:
    if text:
        assert refused(data) == text
    else:
        assert len(decode_program(FORM, data)) == 1


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ([], "a program must have from 1 to 4194303 words of 8 bytes, not 0"),
        (
            [Descriptor("barrier")],
            "descriptor 0: last must be set of the last descriptor and of no other, not False",
        ),
        (
            [Descriptor("barrier", last=True)] * 2,
            "descriptor 0: last must be set of the last descriptor and of no other, not True",
        ),
        (
            [Descriptor("stor", last=True)],
            "descriptor 0: unknown operation 'stor': did you mean store or vector? (known: "
            "barrier, load_activations, load_weights, product, store, vector, update, prune)",
        ),
        (
            [Descriptor("barrier", {"store": {}}, last=True)],
            "descriptor 0: barrier must have no jobs, not one for store",
        ),
        (
            [Descriptor("barrier", wait=("sore",), last=True)],
            "descriptor 0: unknown unit to wait for 'sore': did you mean store? (known: "
            "load_activations, load_weights, array, feed_activations, feed_weights, collect, "
            "store, vector, update, prune)",
        ),
        (
            [Descriptor("store", last=True)],
            "descriptor 0: store must have a job for store, and has none",
        ),
        (
            [Descriptor("store", {"store": {"run": 1}}, last=True)],
            "descriptor 0: a job of store must have its fields and no others: length is missing",
        ),
        (
            [
                Descriptor(
                    "store", {"store": {**job("store", random.Random(0)), "run": 1 << 24}}, (), True
                )
            ],
            "descriptor 0: field run must be from 0 to 16777215, not 16777216",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(wanted: list[Descriptor], text: str) -> None:
    with pytest.raises(InputError) as caught:
        encode_program(FORM, wanted)
    assert str(caught.value) == text


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
def test_any_bytes_are_a_program_or_refused(noise: bytes, flips: list[tuple[int, int]]) -> None:
    data = bytearray(encode_program(FORM, program(1, 3)))
    for at, value in flips:
        data[at % len(data)] ^= value
    for each in (noise, bytes(data), noise + bytes(data)):
        found, fault = None, None
        try:
            found = decode_program(FORM, each)
        except InputError as error:
            fault = error
        if found is not None:
            assert encode_program(FORM, found) == each
        elif isinstance(fault, ProgramError):
            assert fault.rule in FAULTS
            assert 0 <= fault.offset <= len(each)
        else:
            assert len(each) % 8


@pytest.mark.parametrize(
    ("operations", "text"),
    [
        (
            {
                "a": Operation(1, "", {"u": lambda _: {"x": 1}}),
                "b": Operation(1, "", {"v": lambda _: {"x": 1}}),
            },
            "opcodes of a program's format must differ: [1, 1]",
        ),
        (
            {
                "a": Operation(1, "", {"u": lambda _: {"x": 1}}),
                "b": Operation(2, "", {"u": lambda _: {"x": 1}}),
            },
            "units of a program's format must differ: ['u', 'u']",
        ),
        (
            {"a": Operation(1, "", {f"u{i}": lambda _: {"x": 1} for i in range(17)})},
            "units of a program's format must be 16 at most, not 17",
        ),
        (
            {"a": Operation(1, "", {"u": lambda _: {"x": 65}})},
            "unit u must have fields, of 1 to 64 bits each",
        ),
        (
            {"a": Operation(1, "", {"u": lambda _: {f"x{i}": 64 for i in range(511)}})},
            "words of a payload must be 510 at most, and a has 511",
        ),
    ],
)
def test_formats_that_cannot_be_are_refused(operations: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        ProgramFormat.made(operations, SAT)
    assert str(caught.value) == text


def test_digests_tell_formats_apart() -> None:
    others = [
        SAT.with_values(**{"buffers.weight_kib": 2 * SAT.buffers.weight_kib}),
        SAT.with_values(**{"array.rows": 8}),
        SAT.with_values(**{"array.group_port_elements": 4}),
    ]
    digests = {ProgramFormat.of(each).digest for each in (SAT, *others)}
    assert len(digests) == 4
    assert ProgramFormat.of(SAT).digest == FORM.digest
    # One line adds a unit, and moves nothing that was there.
    more = {**descriptors.OPERATIONS, "new": Operation(9, "", {"new": lambda _: {"x": 70 - 6}})}
    grown = ProgramFormat.made(more, SAT)
    assert grown.digest != FORM.digest
    assert [unit.number for unit in grown.units] == list(range(len(FORM.units) + 1))
    data = encode_program(FORM, program(2, 20))
    assert encode_program(grown, decode_program(grown, data)) == data


def test_the_c_header_writes_the_same_bytes(tmp_path: Path) -> None:
    """A compiled program makes descriptors field by field, and reads them back."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    wanted = program(4, 12)
    lines = [
        *(
            '#include "program.h"',
            '#include "program.h"',
            "#include <stdio.h>",
            "#include <string.h>",
        ),
        "int main(void) {",
        f"  static uint64_t w[{FORM.longest}];",
    ]
    for each in wanted:
        name = each.operation.upper()
        lines.append("  memset(w, 0, sizeof w);")
        fields = []
        for unit, values in each.jobs.items():
            if each.operation == "product":
                fields.append((f"NOFM_PRODUCT_HAS_{unit.upper()}", 1))
            fields += [(f"NOFM_{unit}_{k}".upper(), value) for k, value in values.items()]
        # From the highest on, over ones: what is around a field stays as it is.
        for field, value in reversed(fields):
            lines.append(f"  nofm_set(w, {field}_LOW, {field}_BITS, ~(uint64_t)0);")
            lines.append(f"  nofm_set(w, {field}_LOW, {field}_BITS, {value}u);")
        wait = " | ".join(["0u", *(f"NOFM_UNIT_{unit.upper()}" for unit in each.wait)])
        last = "NOFM_FLAG_LAST" if each.last else "0u"
        lines.append(f"  nofm_seal(w, NOFM_OPCODE_{name}, NOFM_LENGTH_{name}, {wait}, {last});")
        for field, value in fields:
            lines.append(f"  if (nofm_get(w, {field}_LOW, {field}_BITS) != {value}u) return 1;")
        lines.append(f"  fwrite(w, 8, 1 + NOFM_LENGTH_{name}, stdout);")
    (tmp_path / "program.h").write_text(c_header(FORM), "utf-8")
    (tmp_path / "main.c").write_text("\n".join([*lines, "  return 0;", "}", ""]), "utf-8")
    for standard in ("c99", "c11"):
        subprocess.run(
            [
                *(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic"),
                *(str(tmp_path / "main.c"), "-o", str(tmp_path / "main")),
            ],
            check=True,
        )
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, check=True)
    assert done.stdout == encode_program(FORM, wanted)


def test_a_listing() -> None:
    loads = {name: job(name, random.Random(0)) for name in ("load_weights", "collect")}
    loads["load_weights"] |= {"memory_total": 5, "memory_count_0": 0, "memory_left_0": 0}
    loads["load_weights"] |= {"memory_count_1": 7, "memory_left_1": 1}
    zeros = dict.fromkeys(loads["collect"], 0)
    listing = describe(
        FORM,
        [
            Descriptor("load_weights", {"load_weights": loads["load_weights"]}),
            Descriptor(
                "product",
                {"array": {**dict.fromkeys(FORM.units[2].fields, 0), "dense": 1}, "collect": zeros},
                ("load_weights", "array"),
            ),
            Descriptor("barrier", wait=("collect",), last=True),
        ],
    )
    assert listing.splitlines() == [
        "number  word  operation     waits for            job",
        "     0     0  load_weights                       load_weights: memory_total 5, "
        "memory_count_1 7, memory_left_1 1, 25 more",
        "     1    11  product       load_weights, array  array: dense 1",
        "                                                 collect: all 0",
        "     2    52  barrier       collect              (last)",
    ]
