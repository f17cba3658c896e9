"""The host's driver of a chip: plain calls, the same on a board and in simulation.

What it needs of a board is `Board`: 32-bit registers, memory, and a way to let time pass. On Linux
`MappedBoard` gives that from two mapped files, such as those of UIO or `/dev/mem`.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError
from nofm.rtl.axi.register_map import Access
from nofm.rtl.chip.register_file import (
    IDENTIFICATION,
    MAJOR,
    chip_registers,
    configuration,
    counter_names,
)
from nofm.rtl.program.descriptors import FAULTS, MOST_WORDS, WORD_BYTES, ProgramFormat
from nofm.rtl.program.sizes import ADDRESS_BITS

HALF = 32
"""Bits of a register, and where the high half of a number begins."""


class Board(Protocol):
    """Where a chip is. Addresses are those that the chip uses."""

    def read32(self, offset: int) -> int:
        """The register at a byte offset."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Write the register at a byte offset."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of memory."""
        ...

    def pause(self, seconds: float) -> None:
        """Let at least that much time pass."""
        ...


class ChipError(RuntimeError):
    """The chip stopped with an error.

    Attributes:
        name: one of `FAULTS`.
        descriptor: number of the descriptor at hand.
        address: of the descriptor in memory, or of what was read or written.
        detail: number of the unit, or memory's response.
    """

    def __init__(self, name: str, descriptor: int, address: int, detail: int, text: str) -> None:
        self.name = name
        self.descriptor = descriptor
        self.address = address
        self.detail = detail
        super().__init__(text)


class TimeOut(RuntimeError):
    """The chip did not do in time what it was asked for."""


class Driver:
    """Drives one chip.

    Args:
        board: where it is.
        accelerator: what it must be; programs are made for the same one.
        poll_seconds: how long to pause before it is asked again.

    Raises:
        InputError: something else is there.
    """

    def __init__(
        self, board: Board, accelerator: Accelerator, *, poll_seconds: float = 1e-3
    ) -> None:
        if poll_seconds <= 0:
            raise InputError(f"poll_seconds must be above 0, not {poll_seconds}")
        self.board = board
        self.accelerator = accelerator
        self.form = ProgramFormat.of(accelerator)
        self._poll_seconds = poll_seconds
        self._offsets: dict[str, int] = {}
        self._fields: dict[str, dict[str, tuple[int, int]]] = {}
        for offset, register in chip_registers(self.form).placed():
            self._offsets[register.name] = offset
            self._fields[register.name] = {
                field.name: (low, field.mask)
                for low, field in register.placed()
                if field.access is not Access.PULSE
            }
        self.identify()

    def identify(self) -> None:
        """Check that the chip is there, and that it is that of the accelerator.

        Raises:
            InputError: the first register that says something else.
        """
        found = self._read("identification")
        if found != IDENTIFICATION:
            raise InputError(
                f"register identification must be {IDENTIFICATION:#010x}, not {found:#010x}: "
                "no chip of NofM is there"
            )
        major = self._read("version") >> 16
        if major != MAJOR:
            raise InputError(f"the chip's registers must be of version {MAJOR}, not {major}")
        for name, wanted in configuration(self.accelerator).items():
            if name not in ("identification", "version") and (found := self._read(name)) != wanted:
                raise InputError(
                    f"register {name} of a chip of accelerator {self.accelerator.name!r} must be "
                    f"{wanted:#x}, not {found:#x}"
                )

    def reset(self, timeout_seconds: float = 1.0) -> None:
        """End what is under way, whatever it is, and forget errors and events.

        Raises:
            TimeOut: memory does not answer what the chip has asked for.
        """
        self._write("control", 1 << 1)
        self._wait_for(
            lambda: not self._field("status", "resetting"),
            timeout_seconds,
            "the chip is still resetting: memory owes answers",
        )
        self._write("interrupt_status", 3)

    def allow_writes(self, base: int, limit: int) -> None:
        """Let programs write memory from `base` to below `limit`, and nowhere else.

        Raises:
            InputError: addresses that are odd or no range.
        """
        most = 1 << ADDRESS_BITS
        if not 0 <= base <= limit <= most or base % 2 or limit % 2:
            raise InputError(
                f"a window must be even addresses from 0 to {most:#x}, not from {base:#x} to "
                f"{limit:#x}"
            )
        self._write_wide("window_base", base)
        self._write_wide("window_limit", limit)

    def set_watchdog(self, cycles: int) -> None:
        """Stop programs in which nothing moves for so many cycles; 0 lets them wait for ever.

        Raises:
            InputError: a number that does not fit.
        """
        if not 0 <= cycles < 1 << HALF:
            raise InputError(f"cycles of the watchdog must be below 2^{HALF}, not {cycles}")
        self._write("watchdog", cycles)

    def enable_interrupts(self, *, done: bool = True, error: bool = True) -> None:
        """Which events raise the chip's interrupt line."""
        self._write("interrupt_enable", int(done) | int(error) << 1)

    def place(self, program: bytes, address: int) -> None:
        """Write a program to memory, and see that it is there.

        Raises:
            InputError: no program, a place where none can be, or memory that does not keep it.
        """
        if len(program) % WORD_BYTES or not 1 <= len(program) // WORD_BYTES <= MOST_WORDS:
            raise InputError(
                f"a program must have from 1 to {MOST_WORDS} words of {WORD_BYTES} bytes, "
                f"not {len(program)} bytes"
            )
        if address % WORD_BYTES or not 0 <= address <= (1 << ADDRESS_BITS) - len(program):
            raise InputError(
                f"a program must lie at a multiple of {WORD_BYTES} below {1 << ADDRESS_BITS:#x}, "
                f"not at {address:#x}"
            )
        self.board.write(address, program)
        if self.board.read(address, len(program)) != program:
            raise InputError(f"memory at {address:#x} does not keep the program that is written")

    def start(self, address: int, words: int) -> None:
        """Begin a program that lies in memory.

        Raises:
            ChipError: an error stands.
            InputError: a program is under way, or it has no words, or too many.
        """
        self.check()
        if self._field("status", "busy"):
            raise InputError("a program can begin when none is under way, and one is")
        if not 1 <= words <= MOST_WORDS:
            raise InputError(f"words of a program must be from 1 to {MOST_WORDS}, not {words}")
        self._write_wide("program", address)
        self._write("program_words", words)
        self._write("interrupt_status", 3)
        self._write("control", 1)

    def wait(
        self,
        timeout_seconds: float = 10.0,
        interrupt: Callable[[float], bool] | None = None,
    ) -> None:
        """Wait for a program's end.

        Args:
            timeout_seconds: how long, at least.
            interrupt: waits for the interrupt, so many seconds at most, and says whether it came;
                without it, the status is asked for again and again.

        Raises:
            ChipError: it stopped with an error.
            TimeOut: it does not end.
        """
        if interrupt is not None:
            interrupt(timeout_seconds)
            timeout_seconds = 0.0
        self._wait_for(
            lambda: not self._field("status", "busy"),
            timeout_seconds,
            f"the program has not ended in {timeout_seconds:g} s",
        )
        self.check()
        if not self._field("status", "done"):
            raise TimeOut("no program has ended")

    def run(self, program: bytes, address: int, timeout_seconds: float = 10.0) -> dict[str, int]:
        """Place a program, begin it, wait for its end, and give its counters.

        Raises:
            InputError, ChipError, TimeOut: as `place`, `start` and `wait` do.
        """
        self.place(program, address)
        self.start(address, len(program) // WORD_BYTES)
        self.wait(timeout_seconds)
        return self.counters()

    def check(self) -> None:
        """Raise the error that stands, if one does.

        Raises:
            ChipError: what the chip says of it.
        """
        if not self._field("status", "error"):
            return
        code, detail = (self._field("error", name) for name in ("code", "detail"))
        names = {fault.code: name for name, fault in FAULTS.items()}
        name = names.get(code, f"unknown code {code}")
        descriptor = self._field("error_descriptor", "number")
        address = self._read_wide("error_address")
        what = FAULTS[name].meaning if name in FAULTS else "this version does not know it"
        if name == "unit" and detail < len(self.form.units):
            what += f", {self.form.units[detail].name}"
        elif name in ("read", "write"):
            what += f", {'SLVERR' if detail == 2 else 'DECERR'}"
        raise ChipError(
            name,
            descriptor,
            address,
            detail,
            f"{name} at descriptor {descriptor}, address {address:#x}: {what}",
        )

    def counters(self) -> dict[str, int]:
        """All performance counters, as they stood in one cycle."""
        self._write("control", 1 << 2)
        return {name: self._read_wide(f"count_{name}") for name in counter_names(self.form)}

    def _read(self, name: str) -> int:
        return self.board.read32(self._offsets[name])

    def _write(self, name: str, value: int) -> None:
        self.board.write32(self._offsets[name], value)

    def _field(self, register: str, field: str) -> int:
        low, mask = self._fields[register][field]
        return self._read(register) >> low & mask

    def _read_wide(self, name: str) -> int:
        return self._read(f"{name}_low") | self._read(f"{name}_high") << HALF

    def _write_wide(self, name: str, value: int) -> None:
        self._write(f"{name}_low", value & (1 << HALF) - 1)
        self._write(f"{name}_high", value >> HALF)

    def _wait_for(self, reached: Callable[[], bool], seconds: float, text: str) -> None:
        for _ in range(math.ceil(seconds / self._poll_seconds)):
            if reached():
                return
            self.board.pause(self._poll_seconds)
        if not reached():
            raise TimeOut(text)


class MappedBoard:
    """A board whose registers and memory are mapped files, such as `/dev/uio0` and `/dev/mem`.

    Args:
        registers, registers_offset: file, and where in it the registers begin.
        memory, memory_offset: the same of memory.
        memory_base: the chip's address of the first byte of memory that is mapped.
        memory_size: bytes of it.
        registers_size: bytes of the registers.

    Raises:
        InputError: a file that cannot be mapped, or a machine whose low bytes do not come first.
    """

    def __init__(
        self,
        registers: Path,
        memory: Path,
        *,
        memory_base: int,
        memory_size: int,
        registers_offset: int = 0,
        memory_offset: int = 0,
        registers_size: int = 1 << 12,
    ) -> None:
        if sys.byteorder != "little":
            raise InputError(f"a host's byte order must be little, not {sys.byteorder}")
        self._base = memory_base
        self._maps: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        try:
            words = self._map(registers, registers_offset, registers_size)
            self._bytes = self._map(memory, memory_offset, memory_size)
        except BaseException:
            self.close()
            raise
        # One access of the processor a register, and not one a byte.
        self._words = words.cast("I")
        self._views.append(self._words)

    def _map(self, path: Path, offset: int, size: int) -> memoryview:
        if offset % 4 or offset < 0 or size < 4:
            raise InputError(
                f"a mapping of {path} must begin at a multiple of 4 and have 4 bytes or more, not "
                f"{size} bytes at {offset}"
            )
        inside = offset % mmap.ALLOCATIONGRANULARITY
        try:
            file = os.open(path, os.O_RDWR | getattr(os, "O_SYNC", 0))
            try:
                found = mmap.mmap(file, size + inside, offset=offset - inside)
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} must have {size} bytes at {offset} that can be mapped: {error}"
            ) from None
        self._maps.append(found)
        whole = memoryview(found)
        view = whole[inside : inside + size]
        self._views += [whole, view]
        return view

    def read32(self, offset: int) -> int:
        """As of `Board`."""
        return self._words[offset // 4]

    def write32(self, offset: int, value: int) -> None:
        """As of `Board`."""
        self._words[offset // 4] = value

    def read(self, address: int, size: int) -> bytes:
        """As of `Board`.

        Raises:
            InputError: it is not mapped.
        """
        return bytes(self._bytes[self._part(address, size)])

    def write(self, address: int, data: bytes) -> None:
        """As of `Board`.

        Raises:
            InputError: it is not mapped.
        """
        self._bytes[self._part(address, len(data))] = data

    def _part(self, address: int, size: int) -> slice:
        first = address - self._base
        if not 0 <= first <= len(self._bytes) - size:
            raise InputError(
                f"memory from {self._base:#x} to {self._base + len(self._bytes):#x} is mapped, not "
                f"{size} bytes at {address:#x}"
            )
        return slice(first, first + size)

    def pause(self, seconds: float) -> None:
        """As of `Board`."""
        time.sleep(seconds)

    def close(self) -> None:
        """Unmap both files."""
        for view in reversed(self._views):
            view.release()
        self._views.clear()
        for each in self._maps:
            each.close()
        self._maps.clear()

    def __enter__(self) -> MappedBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
