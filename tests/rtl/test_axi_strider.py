"""Striders against NumPy: what loops of strides name, and what convolutions read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import Bytes, MasterCase, differences, replay_masters, words_of
from nofm.rtl.axi.strided import StridedRead, StridedWrite
from nofm.rtl.axi.strider import Loop, Strider, Strides, Walk, job_fields
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.fields import unpack
from nofm.rtl.hierarchy import Emitted, emitted, modules
from nofm.rtl.tools.cocotb_runner import SimulationError

BUS = Bus(data_bits=64, burst_beats=4, outstanding=4, queue_beats=16, length_bits=16, tag_bits=3)
WALK = Walk(loops=5, axes=2, count_bits=4, step_bits=16, position_bits=6)
FLAT = Walk(loops=2, axes=0, count_bits=6, step_bits=16)
BASE = 0x40_0000


def strided_case(
    name: str, walk: Walk, strides: list[Strides], runs: list[Bytes], image: Bytes, **options: Any
) -> MasterCase:
    """Jobs whose runs of bytes, of all one after the other, are `runs`; the last one of a job has
    the highest bit in its tag."""
    wanted: list[int] = []
    last = 1 << BUS.tag_bits - 1
    at = 0
    for each in strides:
        count = int(np.prod([loop.count for loop in each.loops]))
        for number in range(count):
            tag = each.tag + (last if number == count - 1 else 0)
            wanted += words_of(runs[at + number], BUS, tag)
        at += count
    assert at == len(runs)
    memory = options.pop("memory", {})
    case = Case(
        name=name,
        inputs={"job": [[each.encode(BUS, walk) for each in strides]]},
        outputs={"out": [wanted]},
        jobs=len(runs),
        limit=10 * len(wanted) + 300,
        **options,
    )
    return MasterCase(case, MemoryCase(base=BASE, **memory), image, image)


def convolution(
    rng: np.random.Generator, tag: int, offset: int
) -> tuple[Strides, list[Bytes], np.ndarray[Any, np.dtype[np.float16]]]:
    """A convolution of any shape: its job, what it must read by NumPy, and its input.

    Images are [image, y, x, channels] of FP16; for every pixel of the output and every tap a run of
    some of the channels is read. NumPy pads first, and then takes slices.
    """
    images, high, wide = (int(rng.integers(1, top)) for top in (3, 6, 6))
    channels = int(rng.integers(1, 13))
    taps_y, taps_x = (int(rng.integers(1, 4)) for _ in range(2))
    stride, dilation = (int(rng.integers(1, 4)) for _ in range(2))
    padding = int(rng.integers(0, 4))
    reach_y, reach_x = (dilation * (taps - 1) + 1 for taps in (taps_y, taps_x))
    out_y = (high + 2 * padding - reach_y) // stride + 1
    out_x = (wide + 2 * padding - reach_x) // stride + 1
    if min(out_y, out_x) < 1 or images * out_y * out_x * taps_y * taps_x > 200:
        return convolution(rng, tag, offset)
    first = int(rng.integers(0, channels))
    run = int(rng.integers(1, channels - first + 1))
    values = rng.standard_normal((images, high, wide, channels)).astype(np.float16)
    margin = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(values, margin)
    runs = [
        padded[n, y * stride + ky * dilation, x * stride + kx * dilation, first : first + run]
        .copy()
        .view(np.uint8)
        for n in range(images)
        for y in range(out_y)
        for x in range(out_x)
        for ky in range(taps_y)
        for kx in range(taps_x)
    ]
    pixel, row, image = 2 * channels, 2 * channels * wide, 2 * channels * wide * high
    strides = Strides(
        address=BASE + offset + 2 * first - padding * (row + pixel),
        run_bytes=2 * run,
        loops=(
            Loop(taps_x, dilation * pixel, (0, dilation)),
            Loop(taps_y, dilation * row, (dilation, 0)),
            Loop(out_x, stride * pixel, (0, stride)),
            Loop(out_y, stride * row, (stride, 0)),
            Loop(images, image),
        ),
        begins=(-padding, -padding),
        sizes=(high, wide),
        tag=tag,
    )
    return strides, runs, values


def image_of(values: np.ndarray[Any, Any], offset: int) -> Bytes:
    """Memory that is full of ones but for `values`, so that reads of what lies around are seen."""
    image = np.full(offset + values.nbytes + 64, 0xFF, np.uint8)
    image[offset : offset + values.nbytes] = values.reshape(-1).view(np.uint8)
    return image[: len(image) // 8 * 8]


def convolutions(count: int) -> list[MasterCase]:
    rng = np.random.default_rng(4)
    cases = []
    for number in range(count):
        offset = 2 * int(rng.integers(0, 20))
        strides, runs, values = convolution(rng, number % 4, offset)
        channels = {} if number % 2 else {"ar": "random:0.5", "r": "random:0.7"}
        image = image_of(values, offset)
        name = f"{number}: {strides}"
        memory = {"latency": number % 7 + 1, "channels": channels, "seed": number}
        options = {"backpressure": {"out": "random:0.7"}} if number % 3 == 0 else {}
        cases.append(strided_case(name, WALK, [strides], runs, image, memory=memory, **options))
    return cases


def check(sources: dict[str, str], top: str, cases: list[MasterCase], folder: Path) -> list[str]:
    done = replay_masters(sources, top, BUS, cases, folder=folder, tool="icarus")
    found = []
    for case, result in zip(cases, done.results["cases"], strict=True):
        found += [f"{case.case.name}: {text}" for text in differences(case, result)]
    return found


def test_convolutions_of_any_shape(tmp_path: Path) -> None:
    top = StridedRead(BUS, WALK)
    assert check(modules(top), top.module_name, convolutions(10), tmp_path) == []


def tiles(count: int) -> list[tuple[list[Strides], list[Bytes], Bytes]]:
    """Jobs on tiles of matrices, backwards too: what each takes, in order."""
    rng = np.random.default_rng(5)
    found = []
    for number in range(count):
        rows, columns = int(rng.integers(2, 20)), int(rng.integers(2, 40))
        matrix = rng.integers(0, 1 << 16, (rows, columns)).astype(np.uint16)
        strides, runs = [], []
        for tag in range(2):
            high, wide = int(rng.integers(1, rows + 1)), int(rng.integers(1, columns + 1))
            top, left = int(rng.integers(rows - high + 1)), int(rng.integers(columns - wide + 1))
            tile = matrix[top : top + high, left : left + wide]
            backwards = (number + tag) % 3 == 0
            begin = top + high - 1 if backwards else top
            step = -2 * columns if backwards else 2 * columns
            strides.append(
                Strides(
                    address=BASE + 2 * (begin * columns + left),
                    run_bytes=2 * wide,
                    loops=(Loop(high, step),),
                    tag=tag,
                )
            )
            runs += [row.copy().view(np.uint8) for row in (tile[::-1] if backwards else tile)]
        found.append((strides, runs, image_of(matrix, 0)))
    return found


@pytest.mark.slow
def test_tiles_are_read(tmp_path: Path) -> None:
    cases = [
        strided_case(f"{strides}", FLAT, strides, runs, image) for strides, runs, image in tiles(6)
    ]
    top = StridedRead(BUS, FLAT)
    assert check(modules(top), top.module_name, cases, tmp_path) == []


def test_tiles_are_written(tmp_path: Path) -> None:
    """Only they: all other bytes stay."""
    rng = np.random.default_rng(6)
    cases = []
    for strides, runs, image in tiles(6):
        after, words, tags, at = image.copy(), [], [], 0
        for each in strides:
            (loop,) = each.loops
            for number in range(loop.count):
                data = rng.integers(0, 256, each.run_bytes, np.uint8)
                start = each.address - BASE + number * loop.stride_bytes
                after[start : start + each.run_bytes] = data
                words += [
                    int.from_bytes(data[k : k + 8].tobytes(), "little")
                    for k in range(0, len(data), 8)
                ]
                tags.append(each.tag + (4 if number == loop.count - 1 else 0))
                at += 1
        case = Case(
            name=f"{strides}",
            inputs={"job": [[each.encode(BUS, FLAT) for each in strides]], "in": [words]},
            outputs={},
            jobs=len(runs),
            counters={"done_tag": tags},
            limit=20_000,
        )
        cases.append(MasterCase(case, MemoryCase(base=BASE, latency=3), image, after))
    top = StridedWrite(BUS, FLAT)
    assert check(modules(top), top.module_name, cases, tmp_path) == []


MUTANTS = {
    "no padding": (".any() if outside", ".all() if outside"),
    "padding one too far": (
        'job[f"begin_{axis}"] >= job[f"size_{axis}"]',
        'job[f"begin_{axis}"] > job[f"size_{axis}"]',
    ),
    "steps are not signed": (".as_signed()", ""),
    "inner loops do not begin again": ("m.Elif(loop > each)", "m.Elif(0)"),
    "the outermost loop goes on first": ("for each in reversed(loops)", "for each in loops"),
    "the last command is not marked": ('Cat(job["tag"], last)', 'Cat(job["tag"], 0)'),
    "a pass too few": ("~last)", "~last & ~(loop == 4))"),
}


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(StridedRead(BUS, WALK)))


QUICK = ("no padding",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MUTANTS],
)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    mutate(Strider, "elaborate", *MUTANTS[name], monkeypatch)
    try:
        top = StridedRead(BUS, WALK).module_name
        assert check(remake(sound, Strider), top, convolutions(6), tmp_path)
    except SimulationError:
        pass  # unknown bits, or no end


def walked(strides: Strides, walk: Walk) -> list[tuple[int, ...]]:
    """Granule address and positions of each pass, by additions alone, as in hardware."""
    job = unpack(job_fields(BUS, walk), strides.encode(BUS, walk))
    left = [job[f"count_{i}"] for i in range(walk.loops)]
    found = []
    while True:
        found.append((job["address"], *(job[f"begin_{a}"] for a in range(walk.axes))))
        going = [i for i in range(walk.loops) if left[i]]
        if not going:
            return found
        loop = going[0]
        left[loop] -= 1
        left[:loop] = [job[f"count_{i}"] for i in range(loop)]
        half = 1 << walk.step_bits - 1
        step = (job[f"step_{loop}"] + half) % (2 * half) - half
        job["address"] = (job["address"] + step) % (1 << BUS.granule_address_bits)
        for a in range(walk.axes):
            moved = job[f"begin_{a}"] + job[f"move_{a}_{loop}"]
            job[f"begin_{a}"] = moved % (1 << walk.position_bits)


def test_steps_add_up_to_strides() -> None:
    """Every address and position is the sum of what its loops' passes move it."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        loops = [
            Loop(
                int(rng.integers(1, 5)), 2 * int(rng.integers(-99, 99)), (int(rng.integers(-2, 3)),)
            )
            for _ in range(int(rng.integers(1, 6)))
        ]
        strides = Strides(address=BASE, run_bytes=2, loops=loops, begins=(1,), sizes=(9,))
        passes = np.array(list(np.ndindex(*[loop.count for loop in reversed(loops)])))[:, ::-1]
        addresses = BASE // 2 + passes @ [loop.stride_bytes // 2 for loop in loops]
        positions = (1 + passes @ [loop.moves[0] for loop in loops]) % (1 << WALK.position_bits)
        wanted = [(int(a), int(p), 0) for a, p in zip(addresses, positions, strict=True)]
        assert walked(strides, WALK) == wanted


def strides(**values: Any) -> Strides:
    return Strides(**{"address": 0, "run_bytes": 2, "loops": [Loop(2, 2)], **values})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: strides(loops=[Loop(1, 0)] * 6),
            "strides must have 5 loops at most, not 6",
        ),
        (
            lambda: strides(sizes=(1,)),
            "strides must have a begin for each size, and 2 at most, not 0 and 1",
        ),
        (
            lambda: strides(run_bytes=3),
            "run_bytes of strides must be a multiple of 2, not 3",
        ),
        (
            lambda: strides(loops=[Loop(2, 65536 + 2)]),
            "step of loop 0 must be from -32768 to 32767, not 32769",
        ),
        (lambda: strides(loops=[Loop(17, 2)]), "field count_0 must be from 0 to 15, not 16"),
        (
            lambda: strides(begins=(0,), sizes=(33,)),
            "size of an axis must be from 0 to 32, not 33",
        ),
        (
            lambda: strides(loops=[Loop(9, 2, (-5,))], begins=(3,), sizes=(4,)),
            "positions of an axis must stay from -32 to 31, not -37 to 3",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(make: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        make().encode(BUS, WALK)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Walk(loops=1), "loops of a walk must be from 2 to 8, not 1"),
        (lambda: Walk(axes=4), "axes of a walk must be from 0 to 3, not 4"),
        (
            lambda: StridedWrite(BUS, WALK),
            "axes of a walk that writes must be 0, not 2",
        ),
        (
            lambda: Strider(Bus(tag_bits=1), WALK),
            "tag_bits of a bus with a strider must be 2 or more, not 1",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(make: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == text
