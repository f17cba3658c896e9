"""What this machine's core can do at most: multiply-adds a second, and bytes a second it can load.

The loops are written in LLVM's own language, so that nothing but the instructions in question
runs: chains of fused multiply-adds that stay in registers, and vector loads from a buffer of a
given size.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nofm.kernels.lanes import LANES

CHAINS = 12
"""Independent accumulators: more than the latency of a multiply-add times those started a cycle."""

LEVELS = {"L1": 16 << 10, "L2": 256 << 10, "L3": 4 << 20, "DRAM": 128 << 20}
"""Bytes of the buffer that is read, by the memory that it is meant to lie in."""


def _emit_fma_loop(typing: Any, lanes: Any, count: Any) -> Any:
    """The sum of all accumulators after `count` rounds of a multiply-add into each."""
    width = len(lanes)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, count = arguments
        single, word = ir.FloatType(), ir.IntType(64)
        vector = ir.VectorType(single, width)
        insert: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = insert(builder.module, kind, f"llvm.fma.v{width}f32")
        entry = builder.block
        loop, end = (builder.append_basic_block(name) for name in ("loop", "end"))
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(ir.Constant(word, 0), entry)
        half = ir.Constant(vector, [0.5] * width)
        sums = []
        for chain in range(CHAINS):
            accumulator = builder.phi(vector)
            accumulator.add_incoming(ir.Constant(vector, [float(chain)] * width), entry)
            sums.append(accumulator)
        following = [builder.call(fma, [half, accumulator, half]) for accumulator in sums]
        for accumulator, new in zip(sums, following, strict=True):
            accumulator.add_incoming(new, loop)
        after = builder.add(i, ir.Constant(word, 1))
        i.add_incoming(after, loop)
        builder.cbranch(builder.icmp_signed("<", after, count), loop, end)
        builder.position_at_end(end)
        total = following[0]
        for new in following[1:]:
            total = builder.fadd(total, new)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes, count), codegen


_fma_loop: Any = intrinsic(_emit_fma_loop)


def _emit_load_loop(typing: Any, lanes: Any, address: Any, vectors: Any, rounds: Any) -> Any:
    """All bits of `vectors` vectors from `address` on, or-ed, read `rounds` times; eight a turn."""
    width, unroll = len(lanes), 8

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, vectors, rounds = arguments
        word = ir.IntType(64)
        vector = ir.VectorType(ir.IntType(32), width)
        zero = ir.Constant(word, 0)
        entry = builder.block
        outer, loop, after_loop, end = (
            builder.append_basic_block(name) for name in ("outer", "loop", "after", "end")
        )
        none = ir.Constant(vector, [0] * width)
        builder.branch(outer)
        builder.position_at_end(outer)
        turn = builder.phi(word)
        turn.add_incoming(zero, entry)
        before = [builder.phi(vector) for _ in range(unroll)]
        for phi in before:
            phi.add_incoming(none, entry)
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(zero, outer)
        sums = [builder.phi(vector) for _ in range(unroll)]
        base = builder.add(address, builder.mul(i, ir.Constant(word, 4 * width)))
        following = []
        for j, (phi, start) in enumerate(zip(sums, before, strict=True)):
            phi.add_incoming(start, outer)
            place = builder.add(base, ir.Constant(word, 4 * width * j))
            read = builder.load(builder.inttoptr(place, vector.as_pointer()), align=4)
            following.append(builder.xor(phi, read))
        new_i = builder.add(i, ir.Constant(word, unroll))
        i.add_incoming(new_i, loop)
        for phi, new in zip(sums, following, strict=True):
            phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", new_i, vectors), loop, after_loop)
        builder.position_at_end(after_loop)
        new_turn = builder.add(turn, ir.Constant(word, 1))
        turn.add_incoming(new_turn, after_loop)
        for phi, new in zip(before, following, strict=True):
            phi.add_incoming(new, after_loop)
        builder.cbranch(builder.icmp_signed("<", new_turn, rounds), outer, end)
        builder.position_at_end(end)
        total = following[0]
        for new in following[1:]:
            total = builder.xor(total, new)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.int32(lanes, types.intp, types.intp, types.intp), codegen


_load_loop: Any = intrinsic(_emit_load_loop)


@njit(cache=True, nogil=True)
def _fma(lanes: Any, count: Any) -> Any:
    return _fma_loop(lanes, count)


@njit(cache=True, nogil=True)
def _load(lanes: Any, buffer: Any, rounds: Any) -> Any:
    vectors = buffer.size // len(lanes) // 8 * 8
    return _load_loop(lanes, buffer.ctypes.data, vectors, rounds)


def peak_flops(seconds: float = 0.5) -> float:
    """The most floating-point operations a second that one core was seen to do."""
    count = 20_000
    return 2 * CHAINS * LANES * count / _best(lambda: _fma((0,) * LANES, count), seconds)


def load_bandwidth(buffer_bytes: int, seconds: float = 0.5) -> float:
    """The most bytes a second that one core was seen to load from a buffer of that size."""
    buffer = np.ones(buffer_bytes // 4 + 16, np.int32)
    buffer = buffer[-buffer.ctypes.data % 64 // 4 :][: buffer_bytes // 4]
    rounds = max(1, (8 << 20) // buffer_bytes)
    best = _best(lambda: _load((0,) * LANES, buffer, rounds), seconds)
    return buffer_bytes * rounds / best


SAMPLE_SECONDS = 0.02
"""Of the wall, that a sample takes at least: the clock of a thread may move in steps."""


def _best(function: Any, seconds: float) -> float:
    """The shortest time of a call, of samples that begin in so many seconds, after one call that
    warms up."""
    function()
    start = time.perf_counter()
    function()
    calls = max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-6)))
    best, end = np.inf, time.perf_counter() + seconds
    while best == np.inf or time.perf_counter() < end:
        # Of the thread, for other processes may take the core in between.
        start = time.thread_time()
        for _ in range(calls):
            function()
        took = (time.thread_time() - start) / calls
        if took > 0:
            best = min(best, took)
    return best
