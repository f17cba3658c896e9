"""The checksum of descriptors in hardware: a word a cycle, derived from what Python computes."""

from __future__ import annotations

import binascii

from amaranth.hdl import Cat, Const, Value

from nofm.rtl.program.descriptors import HEADER, WORD_BITS, WORD_BYTES

BITS = HEADER["checksum"]


def _software(state: int, word: int) -> int:
    return binascii.crc_hqx(word.to_bytes(WORD_BYTES, "little"), state)


def checksum_step(state: Value, word: Value) -> Value:
    """The checksum behind one more word: within a cycle, each bit is the parity of some others.

    A CRC is linear, so that what each bit of the state and of the word does alone is all of it.
    """
    does = [_software(1 << bit, 0) for bit in range(BITS)]
    does += [_software(0, 1 << bit) for bit in range(WORD_BITS)]
    inputs = Cat(state, word)
    return Cat(
        (
            inputs & Const(sum((each >> bit & 1) << i for i, each in enumerate(does)), len(does))
        ).xor()
        for bit in range(BITS)
    )
