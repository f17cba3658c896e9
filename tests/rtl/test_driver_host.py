"""A board's host has no Amaranth: it makes programs, drives a chip, and knows the golden model."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Named, so that what would import it fails as it does where it is not installed.
BLOCKED = """
import sys
sys.modules["amaranth"] = None
"""

IMPORT = """
import nofm.rtl
assert not {"numpy", "nofm.rtl.driver"} & set(sys.modules)
from nofm.rtl import Driver
assert Driver.__module__ == "nofm.rtl.driver"
"""

DRIVE = """
from nofm.dataflow.accelerator import load
from nofm.rtl import Driver
from nofm.rtl.chip.register_file import chip_registers, configuration
from nofm.rtl.program.encoding import Descriptor, encode_program

class Board:
    def __init__(self, accelerator, form):
        told = configuration(accelerator)
        self.words = {at: told.get(r.name, 0) for at, r in chip_registers(form).placed()}
        self.memory = bytearray(1 << 12)

    def read32(self, offset):
        return self.words[offset]

    def write32(self, offset, value):
        self.words[offset] = value

    def read(self, address, size):
        return bytes(self.memory[address : address + size])

    def write(self, address, data):
        self.memory[address : address + len(data)] = data

    def pause(self, seconds):
        pass

from nofm.rtl.program.descriptors import ProgramFormat
accelerator = load("sat-4x4")
driver = Driver(Board(accelerator, ProgramFormat.of(accelerator)), accelerator)
driver.reset()
driver.allow_writes(0, 4096)
program = encode_program(driver.form, [Descriptor("barrier", last=True)])
driver.place(program, 64)
driver.start(64, len(program) // 8)
driver.check()
assert len(driver.counters()) > 10
"""

TRAIN = """
from nofm.dataflow.accelerator import load
from nofm.rtl.program.training import DrivenMachine, Example, GoldenMachine, memory_bytes, train

example = Example("tiny", "bdwp", "2:4")
step = example.step(load("sat-4x4"))
first, second = train(GoldenMachine(step.target, step.elements), example, step, 2)
assert second.loss < first.loss, (first.loss, second.loss)
assert memory_bytes(step) > 2 * step.elements
"""


@pytest.mark.parametrize("code", [IMPORT, DRIVE, TRAIN], ids=["import", "drive", "train"])
def test_without_amaranth(code: str) -> None:
    command = [sys.executable, "-W", "error", "-c", BLOCKED + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_blocking_is_seen() -> None:
    command = [sys.executable, "-c", BLOCKED + "import nofm.rtl.hierarchy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "amaranth" in done.stderr
