"""What streaming units are specified to do, against what it is meant for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.compressed import compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.forms import (
    TURNED,
    encode_columns,
    encode_forms,
    encode_rows,
    row_halves,
    write_forms,
)
from nofm.rtl.program.load import load_weights, memory_walk, segment_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import encode_stream, one_run
from nofm.rtl.program.vector import LINE, OPERATIONS, vector, vector_fields
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.sore.job import SoreJob

SIZES = ChipSizes.of(load("sat-4x4"))


def job_of(pattern: str, taps: int, length: int, columns: int) -> SoreJob:
    return SoreJob(
        pattern=Pattern.parse(pattern), taps=taps, length=length, columns=columns, both=True
    )


@pytest.mark.parametrize(
    ("pattern", "taps", "length", "columns"),
    [("2:4", 2, 37, 13), ("2:8", 1, 16, 16), ("1:2", 3, 5, 33), ("4:16", 1, 40, 9)],
)
def test_the_weight_loader_reads_the_forms(
    pattern: str, taps: int, length: int, columns: int
) -> None:
    """[tap][group][n][slot] with every slot, whatever is ragged."""
    job = job_of(pattern, taps, length, columns)
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((taps, length, columns)).astype(np.float16)
    memory = np.zeros(20000, np.uint16)
    places = encode_rows(SIZES, job, 3), encode_columns(SIZES, job, 10000)
    write_forms(SIZES, job, encode_forms(SIZES, job, *places), dense, memory)
    for at, matrix in ((3, dense), (10000, np.swapaxes(dense, 1, 2))):
        form = compress(np.ascontiguousarray(matrix), job.pattern)
        kept, run = form.n * job.pattern.n, row_halves(form.n, job.pattern)
        nest = Nest({"address": at}, (Loop(form.groups, {"address": run}),))
        values = {
            **memory_walk(SIZES).encode("memory_", nest),
            **segment_walk(SIZES.weight_bits).encode("segment_", Nest({}, (Loop(1),))),
            "run": run - 1,
            "length": form.groups * kept - 1,
            "compressed": 1,
            "index_bits": job.pattern.index_bits,
            "kept": kept - 1,
        }
        buffer = np.zeros(SIZES.weight_elements, np.uint32)
        load_weights(SIZES, values, memory, buffer)
        words = form.values.view(np.uint16).astype(np.uint32) | form.index.astype(np.uint32) << 16
        wanted = np.swapaxes(words, 1, 2).reshape(-1)
        assert np.array_equal(buffer[: len(wanted)], wanted)


def test_a_weight_may_be_cut_into_jobs() -> None:
    """Parts of the columns and of the rows write parts of the forms."""
    taps, length, columns = 2, 40, 72
    job = job_of("2:4", taps, length, columns)
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((taps, length, columns)).astype(np.float16)
    whole, parts = np.zeros(20000, np.uint16), np.zeros(20000, np.uint16)
    at, there = 0, 10000
    places = encode_rows(SIZES, job, at), encode_columns(SIZES, job, there)
    write_forms(SIZES, job, encode_forms(SIZES, job, *places), dense, whole)
    across, along = row_halves(columns, job.pattern), row_halves(length, job.pattern)
    groups = job.pattern.groups(length), job.pattern.groups(columns)
    for tap in range(taps):
        for row, column in ((0, 0), (0, 32), (16, 0), (16, 32)):
            rows, wide = (16 if row == 0 else length - 16), (32 if column == 0 else columns - 32)
            part = job_of("2:4", 1, rows, wide)
            first = at + (tap * groups[0] + row // 4) * across + row_halves(column, job.pattern)
            second = there + (tap * groups[1] + column // 4) * along + row_halves(row, job.pattern)
            values = encode_forms(
                SIZES,
                part,
                encode_rows(SIZES, part, first, across),
                encode_columns(SIZES, part, second, along),
            )
            piece = dense[tap : tap + 1, row : row + rows, column : column + wide]
            write_forms(SIZES, part, values, np.ascontiguousarray(piece), parts)
    assert np.array_equal(whole, parts)


def done(name: str, passes: int, rounds: int, run: int, out: int, *inputs: Any, **more: Any) -> Any:
    """What an operation makes of arrays that lie one behind the other."""
    values = dict.fromkeys(vector_fields(SIZES), 0) | {
        "opcode": OPERATIONS[name].opcode,
        "scale": int(np.float32(more.get("scale", 1)).view(np.uint32)),
        "relu": more.get("relu", 0),
        "run": run - 1,
        "passes": passes - 1,
        "rounds": rounds - 1,
    }
    memory = np.zeros(4096, np.uint16)
    at = 0
    for prefix, given in zip(("a_", "b_"), inputs, strict=False):
        if given is not None:
            halves = given.astype(np.float16).reshape(-1).view(np.uint16)
            memory[at : at + halves.size] = halves
            values |= more.get(prefix) or one_run(SIZES, prefix, at, halves.size)
            at += halves.size
    values |= more.get("out_") or one_run(SIZES, "out_", 3000, out)
    vector(SIZES, values, memory)
    return memory[3000 : 3000 + out].view(np.float16)


def window_walk(prefix: str, start: int, high: int, wide: int, channels: int) -> dict[str, int]:
    """A map [high, wide, channels] as its 2 x 2 windows, one after the other."""
    loops = (
        Loop(2, {"address": wide * channels}),
        Loop(wide // 2, {"address": 2 * channels}),
        Loop(high // 2, {"address": 2 * wide * channels}),
    )
    return encode_stream(SIZES, prefix, Nest({"address": start}, loops), 2 * channels)


def test_layers_of_a_network() -> None:
    """Bias with ReLU, pooling, and what goes backward through them, on whole maps."""
    rng = np.random.default_rng(2)
    high, wide, channels = 4, 6, 5
    x = rng.permutation(high * wide * channels).reshape(high, wide, channels) - 50.0
    windows = x.reshape(2, 2, 3, 2, channels).transpose(0, 2, 1, 3, 4).reshape(6, 4, channels)
    bias = rng.integers(-9, 9, channels) * 1.0
    got = done("add_held", high * wide, 1, channels, x.size, x, bias, relu=1)
    assert np.array_equal(got, np.maximum(x + bias, 0).reshape(-1))
    got = done("gate", 1, 1, x.size, x.size, x, x + 1)
    assert np.array_equal(got, np.where(x > 0, x + 1, 0).reshape(-1))
    got = done("sum", high * wide, 1, channels, channels, x)
    assert np.array_equal(got, x.sum((0, 1)))

    walk = window_walk("a_", 0, high, wide, channels)
    got = done("largest", 4, 6, channels, 6 * channels, x, a_=walk)
    assert np.array_equal(got, windows.max(1).reshape(-1))
    got = done("sum", 4, 6, channels, 6 * channels, x, a_=walk, scale=0.25)
    assert np.array_equal(got, windows.mean(1).astype(np.float16).reshape(-1))

    largest, gradient = windows.max(1), rng.integers(1, 9, (6, channels)) * 1.0
    both = np.stack([largest, gradient], axis=1)
    back = window_walk("out_", 3000, high, wide, channels)
    got = done("route", 4, 6, channels, x.size, x, both, a_=walk, out_=back)
    wanted = np.where(windows == largest[:, None], gradient[:, None], 0)
    shape = (2, 3, 2, 2, channels)
    assert np.array_equal(got, wanted.reshape(shape).transpose(0, 2, 1, 3, 4).reshape(-1))
    got = done("spread", 4, 6, channels, x.size, None, gradient, out_=back, scale=0.25)
    wanted = np.repeat(gradient[:, None] / 4, 4, axis=1)
    assert np.array_equal(got, wanted.reshape(shape).transpose(0, 2, 1, 3, 4).reshape(-1))


def test_what_cannot_be_said_is_refused() -> None:
    wide = job_of("1:2", 1, 1, 2 * TURNED + 1)
    with pytest.raises(InputError) as caught:
        encode_columns(SIZES, wide, 0)
    assert str(caught.value) == f"groups along columns must be {TURNED} at most in a job, not 129"
    with pytest.raises(InputError) as caught:
        encode_stream(SIZES, "a_", Nest({}, (Loop(1),)), 0)
    assert str(caught.value) == "elements of a run must be from 1 to 2^24, not 0"
    with pytest.raises(
        ValueError, match=r"^runs of 1025 elements are longer than the line of 1024$"
    ):
        done("sum", 1, 1, LINE + 1, LINE + 1, np.zeros(LINE + 1))
