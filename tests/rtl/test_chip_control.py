"""The chip's control with its driver, a memory behind AXI4, and stubs for units."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Const, Module
from amaranth.lib.wiring import In, Member, Out

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.bus import Bus, read_command, read_word, write_command
from nofm.rtl.axi.ports import lite_ports, mark, read_ports, write_ports
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.counters import Counters
from nofm.rtl.chip.dispatcher import job_ports
from nofm.rtl.chip.gate import INSIDE, BusGate
from nofm.rtl.chip.window import WriteWindow
from nofm.rtl.fields import pack, split
from nofm.rtl.hierarchy import Emitted, Unit, emitted, place
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.encoding import Descriptor, decode_program, encode_program
from nofm.rtl.tools.cocotb_runner import SimulationError, run

SAT = load("sat-4x4")
FORM = ProgramFormat.of(SAT)
BUS = Bus(data_bits=128, address_bits=40, burst_beats=4, outstanding=4, queue_beats=16)
BASE, SIZE = 0x1000, 0x8000
PROGRAM_AT = 0x1040


class Shell(Unit):
    """Control with masters, window and gate, as in a chip; the units' ports lead outside."""

    def __init__(self) -> None:
        self.module_name = "nofm_chip_shell"
        units = len(FORM.units)
        ports: dict[str, Member] = {**lite_ports(12), **read_ports(BUS), **write_ports(BUS)}
        for unit in FORM.units:
            ports |= job_ports(unit.name, unit.width)
        for name in ("unit_busy", "unit_moves", "unit_error"):
            ports[name] = In(units)
        for name, width in (
            ("write_command", sum(write_command(BUS).values())),
            ("write_in", BUS.data_bits),
        ):
            ports |= {f"{name}_valid": In(1), f"{name}_ready": Out(1), f"{name}_data": In(width)}
        for name in ("irq", "units_reset", "quiet", "drain", "refused", "write_done"):
            ports[name] = Out(1)
        super().__init__(ports)
        mark(self)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        control, gate = Control(SAT, BUS), BusGate(BUS)
        reader, writer, window = ReadMaster(BUS), WriteMaster(BUS), WriteWindow(BUS)
        place(m, platform, "control", control)
        place(m, platform, "gate", gate)
        for name, unit in (("reader", reader), ("writer", writer), ("window", window)):
            place(m, platform, name, unit, control.units_reset)
        for name, member in self.signature.members.items():
            for unit in (control, gate):
                if name in unit.signature.members and name not in ("quiet", "drain"):
                    a, b = getattr(self, name), getattr(unit, name)
                    m.d.comb += b.eq(a) if member.flow is In else a.eq(b)
        for ports, unit in ((read_ports(BUS), reader), (write_ports(BUS), writer)):
            for name, member in ports.items():
                a, b = getattr(unit, name), getattr(gate, name.replace("m_axi", INSIDE, 1))
                m.d.comb += b.eq(a) if member.flow is Out else a.eq(b)
        command = split(client_command(BUS), control.command_data)
        given = split(read_command(BUS), reader.command_data)
        word, beat = (
            split(read_word(BUS), reader.out_data),
            split(client_word(BUS), control.in_data),
        )
        m.d.comb += [
            reader.command_valid.eq(control.command_valid),
            control.command_ready.eq(reader.command_ready),
            *(given[name].eq(command.get(name, Const(0))) for name in given),
            control.in_valid.eq(reader.out_valid),
            reader.out_ready.eq(control.in_ready),
            *(beat[name].eq(word[name]) for name in beat),
            window.base.eq(control.window_base),
            window.limit.eq(control.window_limit),
            window.command_valid.eq(self.write_command_valid),
            window.command_data.eq(self.write_command_data),
            self.write_command_ready.eq(window.command_ready),
            window.in_valid.eq(self.write_in_valid),
            window.in_data.eq(self.write_in_data),
            self.write_in_ready.eq(window.in_ready),
            writer.command_valid.eq(window.to_command_valid),
            writer.command_data.eq(window.to_command_data),
            window.to_command_ready.eq(writer.command_ready),
            writer.in_valid.eq(window.to_in_valid),
            writer.in_data.eq(window.to_in_data),
            window.to_in_ready.eq(writer.in_ready),
            control.read_error.eq(reader.error),
            control.read_response.eq(reader.error_response),
            control.read_address.eq(reader.error_address),
            control.write_error.eq(writer.error),
            control.write_response.eq(writer.error_response),
            control.write_address.eq(writer.error_address),
            control.window_error.eq(window.error),
            control.window_address.eq(window.error_address),
            control.read_bytes.eq(gate.read_bytes),
            control.written_bytes.eq(gate.written_bytes),
            control.quiet.eq(gate.quiet),
            gate.drain.eq(control.drain),
            self.quiet.eq(gate.quiet),
            self.drain.eq(control.drain),
            self.refused.eq(window.refused),
            self.write_done.eq(writer.done),
        ]
        return m


def the_program() -> bytes:
    """Every operation, in a row that a compiler could have made."""
    rng = random.Random(7)

    def job(name: str) -> dict[str, int]:
        unit = next(unit for unit in FORM.units if unit.name == name)
        return {field: rng.getrandbits(bits) for field, bits in unit.fields.items()}

    product = ("array", "feed_activations", "feed_weights", "collect")
    loads = [
        Descriptor("load_activations", {"load_activations": job("load_activations")}),
        Descriptor("load_weights", {"load_weights": job("load_weights")}),
    ]
    steps = []
    for fold in range(2):
        part = product if fold else product[:3]
        wait = ("load_activations", "load_weights", *product)
        steps.append(Descriptor("product", {name: job(name) for name in part}, wait))
        steps.append(Descriptor("store", {"store": job("store")}, ("collect", "store")))
    end = Descriptor("barrier", wait=("store",), last=True)
    return encode_program(FORM, [*loads, *steps, end])


PROGRAM = the_program()
PARTS = decode_program(FORM, PROGRAM)
SCENARIOS = (
    *("ends_well", "wrong_chip", "checksum", "random_bytes", "past_the_end", "stuck", "deaf"),
    *("patient", "mute_memory", "read_error", "unit_error", "window", "closed_window"),
    *("write_error", "resets", "snapshots", "early_unit_error", "first_error"),
)


def simulate(
    sources: dict[str, str], scenarios: Sequence[str], folder: Path
) -> dict[str, dict[str, Any]]:
    image = folder / "image.bin"
    image.write_bytes(random.Random(3).randbytes(SIZE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
        done = run(
            sources,
            "nofm_chip_shell",
            "chip_control_bench",
            folder=folder,
            tool="icarus",
            arguments={
                "scenarios": list(scenarios),
                "base": BASE,
                "image": str(image),
                "program": PROGRAM.hex(),
                "units": [unit.name for unit in FORM.units],
                "rules": {"burst_beats": BUS.burst_beats, "outstanding": BUS.outstanding},
                "command": write_command(BUS),
                "lanes": BUS.lanes,
            },
            time_out_seconds=200,
        )
    found: dict[str, dict[str, Any]] = done.results["scenarios"]
    return found


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Shell()))


@pytest.fixture(scope="module")
def results(
    sound: list[Emitted], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    sources = {each.unit.module_name: each.verilog for each in sound}
    return simulate(sources, SCENARIOS, tmp_path_factory.mktemp("control"))


@pytest.fixture
def told(request: pytest.FixtureRequest, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the scenario tells that a test is named after."""
    return results[request.function.__name__.removeprefix("test_")]


def offset(number: int) -> int:
    """Address of a descriptor of the program."""
    words = sum(1 + FORM.by_name[each.operation].words for each in PARTS[:number])
    return PROGRAM_AT + 8 * words


def test_ends_well(told: dict[str, Any]) -> None:
    """Every bit of every job arrives, twice; counters add up, and stand still at the end."""
    wanted = [
        [pack(unit.fields, each.jobs[unit.name]) for each in PARTS if unit.name in each.jobs]
        for unit in FORM.units
    ]
    assert told["jobs"] == wanted
    assert told["twice"] == wanted
    assert told["still"] == told["again"]
    for counts in (told["first"], told["again"]):
        assert counts["descriptors"] == len(PARTS)
        assert counts["written_bytes"] == 0
        # Beats of 16 bytes; the program begins with one, and each read of a fourth of the queue.
        assert counts["read_bytes"] == -(-len(PROGRAM) // 16) * 16
        waits = sum(value for name, value in counts.items() if name.startswith("waits_"))
        working = sum(FORM.by_name[each.operation].words + 4 for each in PARTS)
        assert counts["cycles"] == working + waits + 2
        for unit, jobs in zip(FORM.units, wanted, strict=True):
            assert len(jobs) <= counts[f"busy_{unit.name}"] <= 20 * len(jobs)
    assert told["interrupts"][0] > 0
    assert told["interrupts"][1] > told["interrupts"][0]


def test_wrong_chip(told: dict[str, Any]) -> None:
    digest = ProgramFormat.of(SAT.with_values(**{"array.rows": 2, "array.interleave": 3})).digest
    assert told["text"] == (
        "register program_format of a chip of accelerator 'sat-4x4' must be "
        f"{digest:#x}, not {FORM.digest:#x}"
    )


def test_checksum(told: dict[str, Any]) -> None:
    """The flipped bit is in the last descriptor: all before it were handed out."""
    last = len(PARTS) - 1
    assert told["text"] == told["start"]
    assert told["text"] == (
        f"checksum at descriptor {last}, address {offset(last):#x}: the checksum is that of other "
        "bits"
    )
    assert told["descriptor"] == last
    assert told["address"] == offset(last)
    assert told["jobs"] == sum(len(each.jobs) for each in PARTS)


def test_random_bytes(told: dict[str, Any]) -> None:
    assert len(told["names"]) == 6
    assert set(told["names"]) <= {"opcode", "length", "reserved", "truncated", "checksum"}


def test_past_the_end(told: dict[str, Any]) -> None:
    assert told == {"name": "address", "address": (1 << 40) - 16, "reads": []}


def test_stuck(told: dict[str, Any]) -> None:
    """The first product waits for the loads."""
    assert (told["name"], told["descriptor"], told["address"]) == ("stalled", 2, offset(2))
    assert told["jobs"] == 2
    assert 300 < told["cycles"] < 600
    assert told["text"] == (
        f"stalled at descriptor 2, address {offset(2):#x}: nothing has moved for as long as the "
        "watchdog allows"
    )


def test_deaf(told: dict[str, Any]) -> None:
    assert (told["name"], told["descriptor"], told["address"]) == ("stalled", 3, offset(3))
    assert told["later"] == 0


def test_patient(told: dict[str, Any]) -> None:
    assert told["cycles"] > 400


def test_mute_memory(told: dict[str, Any]) -> None:
    assert told == {
        "run": "the program has not ended in 5e-07 s",
        "reset": "the chip is still resetting: memory owes answers",
    }


def test_read_error(told: dict[str, Any]) -> None:
    assert told["text"].startswith("read at descriptor 0, address 0x1080: ")
    assert told["text"].endswith("memory answered a read with an error, SLVERR")
    assert told["detail"] == 2


def test_unit_error(told: dict[str, Any]) -> None:
    assert told["name"] == "unit"
    assert told["detail"] == next(u.number for u in FORM.units if u.name == "store")
    assert told["text"].endswith(": a unit found an error in its job, store")
    assert told["descriptor"] == len(PARTS) - 1
    assert told["later"] == 0


def test_early_unit_error(told: dict[str, Any]) -> None:
    assert (told["name"], told["descriptor"], told["detail"]) == ("unit", 1, 0)
    assert (told["jobs"], told["later"]) == (1, 0)


def test_first_error(told: dict[str, Any]) -> None:
    assert told == {"address": 0x5000}


def test_window(told: dict[str, Any]) -> None:
    """What lies inside is written; all else is dropped, and nobody waits for it."""
    first, limit = BASE + 0x4002, BASE + 0x4802
    good = [0, 1, None]

    def bad(address: int) -> list[Any]:
        return [1, 0, ["window", address]]

    assert told["found"] == [
        good,
        good,
        good,
        bad(first - 2),
        bad(limit - 2),
        bad(limit),
        bad(first - 2),
        bad(BASE),
        bad((1 << 40) - 2),
        good,
    ]
    assert told["changed"] == [first, limit - 1]


def test_closed_window(told: dict[str, Any]) -> None:
    assert told["written"] == 0
    assert told["text"] == "window at descriptor 0, address 0x5000: a write outside of the window"


def test_write_error(told: dict[str, Any]) -> None:
    assert told["text"] == (
        "write at descriptor 0, address 0x6000: memory answered a write with an error, DECERR"
    )


def test_resets(told: dict[str, Any]) -> None:
    assert told == {"moments": 13, "right": True, "written": 80}


def test_snapshots(told: dict[str, Any]) -> None:
    """In a run, counters are those of one cycle, however long reading them takes."""
    first, again = told["first"], told["again"]
    assert again["cycles"] - first["cycles"] == again["waits_idle"] - first["waits_idle"] > 40
    for counts in (first, again):
        # Two loads are over, and the product is checked and waits.
        waits = sum(value for name, value in counts.items() if name.startswith("waits_"))
        assert counts["cycles"] - waits == 2 * (10 + 4) + 1 + 40 + 1


MUTANTS: dict[str, tuple[type[Unit], str, str, str, str]] = {
    "the last error is kept": (
        Control,
        "_fail",
        "~self._failed & ~self._resetting",
        "~self._resetting",
        "first_error",
    ),
    "an error stops nothing": (
        Control,
        "_wire",
        "self._failed | self._resetting",
        "self._resetting",
        "early_unit_error",
    ),
    "a reset waits for nothing": (
        Control,
        "_reset",
        "self._resetting & self.quiet",
        "self._resetting",
        "resets",
    ),
    "errors outlive a reset": (Control, "_fail", "m.If(self.units_reset)", "m.If(0)", "checksum"),
    "the watchdog sleeps": (Control, "_fail", "(limit != 0)", "0", "stuck"),
    "work is no progress": (Control, "_fail", "| self.unit_moves.any()", "", "patient"),
    "counters count on": (
        Control,
        "_count",
        "counters.run.eq(self._runs)",
        "counters.run.eq(1)",
        "ends_well",
    ),
    "counters never begin again": (
        Control,
        "_count",
        "counters.clear.eq(self._starts)",
        "counters.clear.eq(0)",
        "ends_well",
    ),
    "a snapshot is none": (Counters, "elaborate", "m.If(self.snapshot)", "m.If(1)", "snapshots"),
    "no interrupt at the end": (
        Control,
        "_fail",
        "done_set.eq(ended)",
        "done_set.eq(0)",
        "ends_well",
    ),
    "programs may wrap round": (Control, "_start", "end > 1 <<", "end > 2 <<", "past_the_end"),
    "errors have another place": (
        Control,
        "_causes",
        "self._program + dispatcher.offset",
        "self._program",
        "checksum",
    ),
    "the window ends one later": (
        WriteWindow,
        "elaborate",
        "end > self.limit",
        "end > self.limit + 1",
        "window",
    ),
    "the window begins one earlier": (
        WriteWindow,
        "elaborate",
        "< self.base",
        "+ 1 < self.base",
        "window",
    ),
    "ends wrap round": (
        WriteWindow,
        "elaborate",
        "Signal(bus.granule_address_bits + 2)",
        "Signal(bus.granule_address_bits)",
        "window",
    ),
    "words are not dropped": (
        WriteWindow,
        "_pass",
        "waiting.out_valid & (drop | self.to_in_ready)",
        "waiting.out_valid & ~drop & self.to_in_ready",
        "window",
    ),
    "a word too many is dropped": (
        WriteWindow,
        "_pass",
        "count == head",
        "count == drop + head",
        "window",
    ),
    "drained bursts still come": (BusGate, "_address", "~self.drain | shown", "1", "resets"),
    "an offer is taken back": (BusGate, "_address", "~self.drain | shown", "~self.drain", "resets"),
    "reads are not waited for": (BusGate, "elaborate", "(reads == 0) & ", "", "resets"),
    "writes are not waited for": (BusGate, "elaborate", "(writes == 0) & ", "", "resets"),
    "strobes do not count": (
        BusGate,
        "elaborate",
        "Mux(wrote, strobes, 0)",
        "Mux(wrote, self.bus.data_bytes, 0)",
        "resets",
    ),
}
"""A unit, its method, what is changed, and the scenario that tells."""

QUICK = ("an offer is taken back",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MUTANTS]
)
def test_a_mutant_is_caught(
    name: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    results: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """The scenario comes to no end, breaks a rule of the bus, or tells something else."""
    kind, method, old, new, scenario = MUTANTS[name]
    mutate(kind, method, old, new, monkeypatch)
    try:
        found = simulate(remake(sound, kind), [scenario], tmp_path)
    except SimulationError:
        return
    assert found[scenario] != results[scenario]
