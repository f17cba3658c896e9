"""Compiled functions run on an emulated AArch64 processor, inside this process.

Only the code, a stack and the function's own buffers are in its memory. Each buffer touches a page
that is not there, with its end or with its beginning, so whoever reads or writes past it faults;
what is not to be written is read-only. Instructions are counted exactly: a basic block tells its
size each time it is entered, and an instruction is four bytes.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nofm.kernels.arm import elf
from nofm.kernels.errors import InputError

PAGE = 4096
CODE, BUFFERS, STACK = 0x10_0000, 0x1_0000_0000, 0x7000_0000_0000
STACK_BYTES = 16 * PAGE
RETURN = 0x1000
"""Where the function returns to: nothing is there."""

Field = int | np.ndarray[Any, Any]


class Fault(RuntimeError):
    """The function touched memory that is not its own, or could not go on."""


@dataclass(frozen=True)
class Counts:
    """Instructions that were run, by function and kind.

    Attributes:
        by: how many of each (function, kind); kinds are fma (of vectors), load, store, branch and
            other. A load or store of a pair is one.
    """

    by: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All of them."""
        return self.by.total()

    def kind(self, kind: str) -> int:
        """Those of a kind."""
        return sum(count for (_, one), count in self.by.items() if one == kind)

    def plus(self, other: Counts, times: int = 1) -> Counts:
        """These and so many times the other ones; times may be negative."""
        names = self.by.keys() | other.by.keys()
        return Counts(Counter({one: self.by[one] + times * other.by[one] for one in names}))


def kind_of(instruction: int) -> str:
    """The kind of a 32-bit instruction (Arm Architecture Reference Manual, C4.1)."""
    if instruction & 0xBFA0FC00 == 0x0E20CC00 or instruction & 0xBF80F400 == 0x0F801000:
        return "fma"  # FMLA of vectors, and by an element
    if instruction >> 25 & 0b0101 == 0b0100:
        general = not instruction >> 26 & 1
        single = instruction >> 28 & 0b11 == 0b11  # of a register, neither a pair nor a structure
        literal = instruction & 0x3B000000 == 0x18000000
        signed = general and single and instruction >> 23 & 1  # LDRSW and its like
        return "load" if literal or signed or instruction >> 22 & 1 else "store"
    system = instruction >> 22 == 0b1101010100  # NOP and its like
    return "branch" if instruction >> 26 & 0b111 == 0b101 and not system else "other"


def missing() -> str | None:
    """Why nothing can be emulated here, or None."""
    if find_spec("unicorn") is None:
        return "emulating ARM needs unicorn: pip install 'unicorn>=2.1,<3'"
    return None


class Emulator:
    """An emulated processor with the functions of a compiled library.

    Attributes:
        at_end: whether buffers end, or begin, where memory does.
        counts: of the last call.
    """

    def __init__(self, library: Path, at_end: bool = True) -> None:
        if reason := missing():
            raise InputError(reason)
        self.image, self.at_end, self.counts = elf.read(library), at_end, Counts()

    def call(self, function: str, fields: Mapping[str, Field], written: Collection[str]) -> int:
        """Call a function of one argument, the address of a struct of 64-bit words.

        Args:
            function: its name.
            fields: of the struct, in order: numbers, and arrays whose addresses are passed.
            written: names of arrays that the function may write.

        Returns:
            What it returns, as a signed word.

        Raises:
            Fault: it touches what is not its own.
        """
        import unicorn
        from unicorn import arm64_const as arm

        machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        for segment in self.image.segments:
            start, end = _pages(CODE + segment.address, len(segment.data))
            access = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if segment.code else 0)
            machine.mem_map(start, end - start, access)
            machine.mem_write(CODE + segment.address, segment.data)
        machine.mem_map(STACK, STACK_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        placed: dict[str, tuple[int, int]] = {}
        words = []

        def place(name: str, data: bytes, access: int) -> int:
            start = max((_pages(*one)[1] for one in placed.values()), default=BUFFERS) + PAGE
            _, end = _pages(start, max(len(data), 1))
            address = end - len(data) if self.at_end else start
            machine.mem_map(start, end - start, access)
            machine.mem_write(address, data)
            placed[name] = (address, len(data))
            return address

        for name, given in fields.items():
            if isinstance(given, int):
                words.append(given)
                continue
            access = unicorn.UC_PROT_READ | (unicorn.UC_PROT_WRITE if name in written else 0)
            words.append(place(name, given.tobytes(), access))
        struct_bytes = struct.pack(f"<{len(words)}q", *words)
        job = place("the arguments", struct_bytes, unicorn.UC_PROT_READ)

        blocks: Counter[tuple[int, int]] = Counter()
        touched: list[tuple[int, int, int]] = []

        def on_block(uc: Any, address: int, size: int, data: Any) -> None:
            blocks[address, size] += 1

        def on_fault(uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> bool:
            touched.append((kind, address, size))
            return False

        machine.hook_add(unicorn.UC_HOOK_BLOCK, on_block)
        machine.hook_add(unicorn.UC_HOOK_MEM_INVALID, on_fault)
        machine.reg_write(arm.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vectors are not trapped
        machine.reg_write(arm.UC_ARM64_REG_SP, STACK + STACK_BYTES)
        machine.reg_write(arm.UC_ARM64_REG_X30, RETURN)
        machine.reg_write(arm.UC_ARM64_REG_X0, job)
        try:
            machine.emu_start(CODE + self.image.functions[function][0], RETURN)
        except unicorn.UcError as error:
            raise Fault(f"{function} {_said(error, touched, placed)}") from None
        for name in written:
            array = fields[name]
            if isinstance(array, np.ndarray):
                address, size = placed[name]
                data = machine.mem_read(address, size)
                array.reshape(-1)[...] = np.frombuffer(data, array.dtype)
        self.counts = self._count(blocks)
        result = int(machine.reg_read(arm.UC_ARM64_REG_X0))
        return result - (result >> 63 << 64)

    def _count(self, blocks: Counter[tuple[int, int]]) -> Counts:
        counts = Counts()
        for (address, size), times in blocks.items():
            name = self.image.function_at(address - CODE)
            for at in range(address - CODE, address - CODE + size, 4):
                counts.by[name, self._kinds[at]] += times
        return counts

    @cached_property
    def _kinds(self) -> dict[int, str]:
        """The kind of the instruction at each address of a function."""
        kinds = {}
        for segment in self.image.segments:
            for start, size in self.image.functions.values():
                if segment.code and 0 <= start - segment.address < len(segment.data):
                    for at in range(start, start + size, 4):
                        (word,) = struct.unpack_from("<I", segment.data, at - segment.address)
                        kinds[at] = kind_of(word)
        return kinds


def _pages(address: int, size: int) -> tuple[int, int]:
    """The pages that hold so many bytes: where they begin, and where they end."""
    return address // PAGE * PAGE, -(-(address + size) // PAGE) * PAGE


def _said(
    error: Exception, touched: list[tuple[int, int, int]], placed: Mapping[str, tuple[int, int]]
) -> str:
    import unicorn

    if not touched:
        return f"stopped: {error}"
    kind, address, size = touched[-1]
    does = {
        unicorn.UC_MEM_WRITE_UNMAPPED: "writes",
        unicorn.UC_MEM_WRITE_PROT: "writes",
        unicorn.UC_MEM_FETCH_UNMAPPED: "runs",
        unicorn.UC_MEM_FETCH_PROT: "runs",
    }.get(kind, "reads")

    def distance(name: str) -> int:
        start, length = placed[name]
        return max(start - address, address - start - length, 0)

    near = min(placed, key=distance)
    start, length = placed[near]
    if start <= address and address + size <= start + length:
        return f"{does} {size} bytes of {near!r}, which it may only read"
    return f"{does} {size} bytes at {address - start} of {near!r}, which has {length} bytes"
