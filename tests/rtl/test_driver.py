"""The driver on mapped files: a thread behind them does what a chip does."""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.chip.register_file import (
    chip_registers,
    configuration,
    counter_names,
    pattern_of,
)
from nofm.rtl.driver import ChipError, Driver, MappedBoard, TimeOut
from nofm.rtl.program.descriptors import FAULTS, ProgramFormat
from nofm.rtl.program.encoding import Descriptor, ProgramError, decode_program, encode_program

SAT = load("sat-4x4")
FORM = ProgramFormat.of(SAT)
OFFSETS = {register.name: offset for offset, register in chip_registers(FORM).placed()}
BASE, SIZE = 0x10_0000_0000, 0x4000
REGISTERS_AT, MEMORY_AT = 0x1000 + 0x40, 0x2000 + 0x10
END = Descriptor("barrier", last=True)


class Chip(threading.Thread):
    """Does what registers say, in files: decodes programs, and tells of errors."""

    def __init__(self, registers: Path, memory: Path) -> None:
        super().__init__(daemon=True)
        self._files = [path.open("r+b") for path in (registers, memory)]
        self._registers, self._memory = (mmap.mmap(file.fileno(), 0) for file in self._files)
        self._ends = threading.Event()
        self.mute = False
        self.programs = 0
        for name, value in configuration(SAT).items():
            self.set(name, value)

    def set(self, name: str, value: int) -> None:
        struct.pack_into("<I", self._registers, REGISTERS_AT + OFFSETS[name], value)

    def get(self, name: str) -> int:
        (value,) = struct.unpack_from("<I", self._registers, REGISTERS_AT + OFFSETS[name])
        return int(value)

    def run(self) -> None:
        while not self._ends.wait(1e-4):
            if control := self.get("control"):
                self.set("control", 0)
                if control & 1 and not self.mute:
                    self._program()
                if control & 2:
                    self.set("status", 8 if self.mute else 0)
                if control & 4:
                    for number, name in enumerate(counter_names(FORM)):
                        self.set(f"count_{name}_low", number)
                        self.set(f"count_{name}_high", 2 * number)

    def _program(self) -> None:
        address = self.get("program_low") | self.get("program_high") << 32
        first = MEMORY_AT + address - BASE
        data = self._memory[first : first + 8 * self.get("program_words")]
        self.programs += 1
        try:
            decode_program(FORM, data)
        except ProgramError as error:
            self.set("error", FAULTS[error.rule].code)
            self.set("error_descriptor", error.descriptor)
            self.set("error_address_low", (address + error.offset) & 0xFFFFFFFF)
            self.set("error_address_high", address + error.offset >> 32)
            self.set("status", 4)
        else:
            self.set("status", 2)

    def end(self) -> None:
        self._ends.set()
        self.join()
        self._registers.close()
        self._memory.close()
        for file in self._files:
            file.close()


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[Chip]:
    (tmp_path / "registers").write_bytes(bytes(REGISTERS_AT + 0x1000))
    (tmp_path / "memory").write_bytes(bytes(MEMORY_AT + SIZE))
    chip = Chip(tmp_path / "registers", tmp_path / "memory")
    chip.start()
    yield chip
    chip.end()


@pytest.fixture
def board(chip: Chip, tmp_path: Path) -> Iterator[MappedBoard]:
    with mapped(tmp_path) as board:
        yield board


class Attended(MappedBoard):
    """A write ends when the chip has seen it, as on a bus."""

    def write32(self, offset: int, value: int) -> None:
        super().write32(offset, value)
        while offset == OFFSETS["control"] and self.read32(offset):
            self.pause(1e-4)


def mapped(folder: Path, **options: int) -> MappedBoard:
    given = {
        "memory_base": BASE,
        "memory_size": SIZE,
        "registers_offset": REGISTERS_AT,
        "memory_offset": MEMORY_AT,
        **options,
    }
    return Attended(folder / "registers", folder / "memory", **given)


def test_a_program_runs(chip: Chip, board: MappedBoard) -> None:
    driver = Driver(board, SAT)
    driver.reset()
    driver.allow_writes(0x1_0000_0002, 1 << 40)
    driver.set_watchdog(12345)
    driver.enable_interrupts(done=False)
    counters = driver.run(encode_program(FORM, [END]), BASE + 0x100)
    assert list(counters) == list(counter_names(FORM))
    assert list(counters.values()) == [n | 2 * n << 32 for n in range(len(counters))]
    assert chip.programs == 1
    wanted = {"window_base_low": 2, "window_base_high": 1, "window_limit_low": 0}
    wanted |= {"window_limit_high": 0x100, "watchdog": 12345, "interrupt_enable": 2}
    wanted |= {"program_low": 0x100, "program_high": 0x10, "program_words": 1}
    assert {name: chip.get(name) for name in wanted} == wanted


def test_an_error_is_told_until_a_reset(chip: Chip, board: MappedBoard) -> None:
    driver = Driver(board, SAT)
    data = encode_program(FORM, [Descriptor("barrier"), END])
    text = "checksum at descriptor 1, address 0x1000000108: the checksum is that of other bits"
    with pytest.raises(ChipError) as caught:
        driver.run(data[:-1] + bytes([data[-1] ^ 1]), BASE + 0x100)
    assert str(caught.value) == text
    assert (caught.value.name, caught.value.descriptor) == ("checksum", 1)
    with pytest.raises(ChipError) as caught:
        driver.start(BASE + 0x100, 2)
    assert str(caught.value) == text
    driver.reset()
    driver.run(data, BASE + 0x100)
    assert chip.programs == 2


@pytest.mark.parametrize(
    ("code", "detail", "text"),
    [
        (19, 6, "unit at descriptor 7, address 0x9: a unit found an error in its job, store"),
        (19, 99, "unit at descriptor 7, address 0x9: a unit found an error in its job"),
        (17, 2, "read at descriptor 7, address 0x9: memory answered a read with an error, SLVERR"),
        (
            18,
            3,
            "write at descriptor 7, address 0x9: memory answered a write with an error, DECERR",
        ),
        (99, 0, "unknown code 99 at descriptor 7, address 0x9: this version does not know it"),
    ],
)
def test_errors(chip: Chip, board: MappedBoard, code: int, detail: int, text: str) -> None:
    driver = Driver(board, SAT)
    chip.set("error", code | detail << 8)
    chip.set("error_descriptor", 7)
    chip.set("error_address_low", 9)
    chip.set("status", 4)
    with pytest.raises(ChipError) as caught:
        driver.check()
    assert str(caught.value) == text


def test_waiting_ends(chip: Chip, board: MappedBoard) -> None:
    driver = Driver(board, SAT)
    chip.mute = True
    chip.set("status", 1)
    with pytest.raises(TimeOut, match=r"^the program has not ended in 0.01 s$"):
        driver.wait(0.01)
    asked: list[float] = []
    with pytest.raises(TimeOut, match=r"^the program has not ended in 0.5 s$"):
        driver.wait(0.5, interrupt=lambda seconds: bool(asked.append(seconds)))
    assert asked == [0.5]
    with pytest.raises(InputError, match=r"^a program can begin when none is under way, and one"):
        driver.start(BASE, 1)
    with pytest.raises(TimeOut, match=r"^the chip is still resetting: memory owes answers$"):
        driver.reset(0.05)
    chip.set("status", 0)
    with pytest.raises(TimeOut, match=r"^no program has ended$"):
        driver.wait(0.01)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "identification",
            0,
            "register identification must be 0x4d664f4e, not 0x00000000: no chip of NofM is there",
        ),
        ("version", 2 << 16, "the chip's registers must be of version 1, not 2"),
        ("rows", 9, "register rows of a chip of accelerator 'sat-4x4' must be 0x4, not 0x9"),
        (
            "pattern_15",
            1,
            "register pattern_15 of a chip of accelerator 'sat-4x4' must be 0x0, not 0x1",
        ),
    ],
)
def test_another_chip_is_refused(
    chip: Chip, board: MappedBoard, name: str, value: int, text: str
) -> None:
    chip.set(name, value)
    with pytest.raises(InputError) as caught:
        Driver(board, SAT)
    assert str(caught.value) == text


def test_minor_versions_are_all_right(chip: Chip, board: MappedBoard) -> None:
    chip.set("version", 1 << 16 | 7)
    Driver(board, SAT)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda d: d.place(b"1234567", BASE),
            "a program must have from 1 to 4194303 words of 8 bytes, not 7 bytes",
        ),
        (
            lambda d: d.place(b"", BASE),
            "a program must have from 1 to 4194303 words of 8 bytes, not 0 bytes",
        ),
        (
            lambda d: d.place(bytes(8), BASE + 4),
            "a program must lie at a multiple of 8 below 0x10000000000, not at 0x1000000004",
        ),
        (
            lambda d: d.place(bytes(16), (1 << 40) - 8),
            "a program must lie at a multiple of 8 below 0x10000000000, not at 0xfffffffff8",
        ),
        (
            lambda d: d.place(bytes(8), BASE + SIZE),
            "memory from 0x1000000000 to 0x1000004000 is mapped, not 8 bytes at 0x1000004000",
        ),
        (lambda d: d.start(BASE, 0), "words of a program must be from 1 to 4194303, not 0"),
        (
            lambda d: d.allow_writes(4, 2),
            "a window must be even addresses from 0 to 0x10000000000, not from 0x4 to 0x2",
        ),
        (
            lambda d: d.allow_writes(1, 2),
            "a window must be even addresses from 0 to 0x10000000000, not from 0x1 to 0x2",
        ),
        (
            lambda d: d.set_watchdog(1 << 32),
            "cycles of the watchdog must be below 2^32, not 4294967296",
        ),
    ],
)
def test_what_cannot_be_is_refused(board: MappedBoard, call: object, text: str) -> None:
    driver = Driver(board, SAT)
    with pytest.raises(InputError) as caught:
        call(driver)  # type: ignore[operator]
    assert str(caught.value) == text


def test_memory_that_forgets_is_told(board: MappedBoard) -> None:
    class Forgetful(MappedBoard):
        def write(self, address: int, data: bytes) -> None:
            super().write(address, data[:-1] + b"\0")

    board.__class__ = Forgetful
    with pytest.raises(InputError, match=r"^memory at 0x1000000000 does not keep the program"):
        Driver(board, SAT).place(encode_program(FORM, [END]), BASE)


def test_files_that_cannot_be_mapped_are_refused(chip: Chip, tmp_path: Path) -> None:
    for options in (
        {"memory_size": SIZE + 1},
        {"registers_offset": 2},
        {"registers_size": 1 << 20},
    ):
        with pytest.raises(InputError, match=r"^(a mapping of )?\S*/(memory|registers) must "):
            mapped(tmp_path, **options)
    with pytest.raises(InputError, match="No such file or directory"):
        MappedBoard(tmp_path / "none", tmp_path / "memory", memory_base=0, memory_size=4)
    with (
        pytest.raises(InputError, match=r"^poll_seconds must be above 0, not 0$"),
        mapped(tmp_path) as board,
    ):
        Driver(board, SAT, poll_seconds=0)


def test_patterns_are_told() -> None:
    told = configuration(SAT)
    found = [pattern_of(told[f"pattern_{i}"]) for i in range(16)]
    assert [each for each in found if each] == list(SAT.array.patterns)
