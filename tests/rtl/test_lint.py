"""Emitted engines are clean under Verilator's and Yosys's lint, and what is waived is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from nofm.dataflow.accelerator import Accelerator, load
from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.chip import chip_bus
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.gate import BusGate
from nofm.rtl.chip.loader import Loader
from nofm.rtl.chip.weight_feeder import WeightFeeder
from nofm.rtl.emit.folder import emit
from nofm.rtl.emit.lint import CONTROL_FILE, WAIVERS, control_file
from nofm.rtl.engines import usual
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.tools import find, yosys

PAGE = Path(__file__).parents[2] / "docs" / "rtl.md"
WARNING = re.compile(r"^%Warning-(\w+): \S*?(\w+)\.v:\d+:\d+: (.*)$", re.MULTILINE)


def other(**changes: object) -> Accelerator:
    """Another machine; small buffers, whose memories Yosys reads word by word."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return load("sat-4x4").with_values(**{"buffers.output_kib": 1, **dotted})


MACHINES = {
    "sat-4x4": load("sat-4x4"),
    "one of everything": other(
        array__rows=1,
        array__columns=1,
        array__interleave=1,
        array__multiplier_cycles=1,
        array__adder_cycles=1,
        array__accumulator_cycles=1,
        array__patterns=["1:2"],
        array__weight_registers=1,
        sore__lanes=2,
        sore__latency_cycles=1,
        wuve__lanes=1,
        wuve__latency_cycles=6,
    ),
    "ws only": other(
        array__rows=2,
        array__columns=3,
        array__dataflows=["ws"],
        array__patterns=["1:2", "2:8"],
        array__weight_registers=2,
        sore__lanes=3,
        wuve__lanes=3,
        wuve__latency_cycles=40,
    ),
    "os only, odd sizes": other(
        array__rows=3,
        array__columns=5,
        array__dataflows=["os"],
        array__interleave=7,
        array__multiplier_cycles=4,
        array__adder_cycles=6,
        array__accumulator_cycles=5,
        array__group_port_elements=3,
        array__patterns=["3:5"],
        array__weight_registers=5,
        sore__lanes=13,
        sore__latency_cycles=9,
        wuve__latency_cycles=9,
    ),
}


class Engine(NamedTuple):
    """An engine of an emitted folder."""

    folder: Path
    name: str
    top: str

    @property
    def list(self) -> Path:
        """The file that lists its Verilog."""
        return self.folder / f"{self.name}.f"

    def verilator(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Verilator's lint, from elsewhere."""
        tool = find.verilator()
        command = [tool.path, "--quiet", "--lint-only", "-Wall", "--top-module", self.top]
        return subprocess.run(
            [*command, *options, "-F", str(self.list)],
            env=tool.environ(),
            capture_output=True,
            text=True,
            check=False,
        )

    def waived(self) -> subprocess.CompletedProcess[str]:
        """The same, with the folder's waivers."""
        return self.verilator(str(self.folder / CONTROL_FILE))

    def yosys(self, logs: Path) -> None:
        """Yosys's lint; raises `InputError` where it finds something."""
        files = [self.folder / line for line in self.list.read_text("utf-8").split()]
        lines = [*(f"read_verilog {file}" for file in files), f"hierarchy -check -top {self.top}"]
        yosys.run("\n".join([*lines, "proc", "check -assert", ""]), logs, "check")


CHIPS = {
    "small": load("sat-4x4").with_values(
        **{
            "array.rows": 2,
            "array.columns": 2,
            "array.interleave": 1,
            "array.multiplier_cycles": 1,
            "array.adder_cycles": 1,
            "array.accumulator_cycles": 1,
            "array.group_port_elements": 2,
            "array.weight_registers": 2,
            "array.patterns": ["1:2"],
            "sore.lanes": 2,
            "sore.latency_cycles": 1,
            "wuve.lanes": 1,
            "wuve.latency_cycles": 6,
            "vector.lanes": 1,
            "buffers.activation_kib": 1,
            "buffers.weight_kib": 1,
            "buffers.output_kib": 1,
            "dram.bandwidth_gbps": 0.8,
        }
    ),
    "sat-4x4": load("sat-4x4"),
}


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    """The whole chip of every machine of `CHIPS`."""
    found: dict[str, Engine] = {}
    for machine, accelerator in CHIPS.items():
        folder = tmp_path_factory.mktemp("lint") / "chip"
        (each,) = emit(accelerator, folder, ["chip"])["engines"]
        found[machine] = Engine(folder, "chip", each["top"])
    return found


def part(unit: Unit, folder: Path) -> Engine:
    """A part of a chip as an engine of a folder of its own."""
    names = {f"{name}.v": text for name, text in modules(unit).items()}
    for name, text in {**names, "part.f": "\n".join(names), CONTROL_FILE: control_file()}.items():
        (folder / name).write_text(text, "utf-8")
    return Engine(folder, "part", unit.module_name)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Engine]:
    """Every engine of every machine, by machine and name."""
    found: dict[tuple[str, str], Engine] = {}
    for number, (machine, accelerator) in enumerate(MACHINES.items()):
        folder = tmp_path_factory.mktemp("lint") / str(number)
        for each in emit(accelerator, folder)["engines"]:
            found[machine, each["engine"]] = Engine(folder, each["engine"], each["top"])
    return found


@pytest.fixture
def soil(engines: dict[tuple[str, str], Engine], tmp_path: Path) -> Callable[[str, str], Engine]:
    """Change a buffer of the small engine, in a copy."""
    engine = engines["one of everything", "wuve"]
    copy = engine._replace(folder=tmp_path / "copy")
    shutil.copytree(engine.folder, copy.folder)

    def change(old: str, new: str) -> Engine:
        name = next(line for line in copy.list.read_text("utf-8").split() if "_elastic_" in line)
        text = (copy.folder / name).read_text("utf-8")
        assert old in text
        (copy.folder / name).write_text(text.replace(old, new, 1), "utf-8")
        return copy

    return change


@pytest.mark.parametrize("engine", usual())
@pytest.mark.parametrize("machine", MACHINES)
def test_every_engine_is_clean(
    engines: dict[tuple[str, str], Engine], machine: str, engine: str, tmp_path: Path
) -> None:
    found = engines[machine, engine]
    done = found.waived()
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    found.yosys(tmp_path)


PARTS: dict[str, Callable[[], Unit]] = {
    "control": lambda: Control(CHIPS["small"], chip_bus(ChipSizes.of(CHIPS["small"]))),
    "feeder": lambda: WeightFeeder(ChipSizes.of(CHIPS["small"]), 64),
    "loader": lambda: Loader(ChipSizes.of(CHIPS["small"]), "weights"),
    "wide gate": lambda: BusGate(Bus(data_bits=512, address_bits=40, length_bits=24)),
}
"""Parts of the chip, of which some have other sizes than that of `CHIPS`."""


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_the_chip_are_clean(name: str, tmp_path: Path) -> None:
    found = part(PARTS[name](), tmp_path)
    done = found.waived()
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    found.yosys(tmp_path)


@pytest.mark.slow  # a minute: a chip has some hundred and forty modules
@pytest.mark.parametrize("machine", CHIPS)
def test_the_chip_is_clean(chips: dict[str, Engine], machine: str, tmp_path: Path) -> None:
    done = chips[machine].waived()
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    chips[machine].yosys(tmp_path)


@pytest.mark.slow  # the chip
def test_every_waiver_is_needed(
    engines: dict[tuple[str, str], Engine], chips: dict[str, Engine]
) -> None:
    """Each in each kind of file, and for each message but for the length of a number."""
    seen: set[tuple[str, str, str]] = set()
    for engine in (*engines.values(), *chips.values()):
        done = engine.verilator("-Wno-fatal")
        assert done.returncode == 0, done.stderr
        seen.update(WARNING.findall(done.stderr))
    for waiver in WAIVERS:
        meant = [
            (module, message)
            for rule, module, message in seen
            if rule == waiver.rule
            and any(fnmatchcase(module, name) for name in waiver.modules)
            and any(fnmatchcase(message, text) for text in waiver.messages or ["*"])
        ]
        for name in waiver.modules:
            assert any(fnmatchcase(module, name) for module, _ in meant), (waiver, name)
        for text in waiver.messages:
            assert "?" in text or any(fnmatchcase(m, text) for _, m in meant), (waiver, text)


def test_the_page_lists_the_waivers() -> None:
    section = PAGE.read_text("utf-8").split("\n## Lint\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]
    assert rows == [f"| {each.rule} | {each.what} | {each.reason} |" for each in WAIVERS]


def test_each_waiver_says_why_on_the_line_above(engines: dict[tuple[str, str], Engine]) -> None:
    text = (engines["sat-4x4", "stce"].folder / CONTROL_FILE).read_text("utf-8")
    first, *parts = text.split("\n\n")
    assert first == "`verilator_config"
    for waiver, part in zip(WAIVERS, parts, strict=True):
        lines = part.splitlines()
        said = " ".join(line[3:] for line in lines if line.startswith("// "))
        assert said == f"{waiver.what} {waiver.reason}"
        rest = [line for line in lines if not line.startswith("// ")]
        assert rest == list(waiver.lines())
        assert all(line.startswith(f'lint_off -rule {waiver.rule} -file "*nofm_') for line in rest)


def test_the_folders_page_and_core_lint_so_too(engines: dict[tuple[str, str], Engine]) -> None:
    stce = engines["sat-4x4", "stce"]
    page = (stce.folder / "README.md").read_text("utf-8")
    assert f"\n    verilator --lint-only -Wall --top-module {stce.top} lint.vlt -f stce.f\n" in page
    assert f"hierarchy -check -top {stce.top}; proc; check -assert" in page
    core = (stce.folder / "nofm.core").read_text("utf-8")
    assert "\n  lint:\n    files:\n      - lint.vlt\n    file_type: vlt\n" in core
    for engine in usual():
        target = core.split(f"\n  lint_{engine}:\n")[1].split("\n\n")[0]
        assert "      verilator_options: [-Wall]\n    filesets: [rtl, lint]\n" in target


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("assign out_valid = | level;", "", "UNDRIVEN"),
        ("assign in_ready = level != 3'h4;", "assign in_ready = level;", "WIDTHTRUNC"),
        ("wire pop;", "wire pop; wire idle; assign idle = ~ rst;", "UNUSEDSIGNAL"),
        ("always @* begin", "always @* if (rst) idle = pop; reg idle; always @* begin", "LATCH"),
    ],
)
def test_verilator_tells_of_dirt(
    soil: Callable[[str, str], Engine], old: str, new: str, rule: str
) -> None:
    done = soil(old, new).waived()
    assert done.returncode != 0
    assert rule in {found[0] for found in WARNING.findall(done.stderr)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("assign out_valid = | level;", ""),
        ("wire pop;", "wire pop; assign pop = rst;"),
        ("assign in_ready = level != 3'h4;", "assign in_ready = in_ready | rst;"),
    ],
)
def test_yosys_tells_of_dirt(
    soil: Callable[[str, str], Engine], tmp_path: Path, old: str, new: str
) -> None:
    """A net without a driver, one with two, and a loop."""
    soiled = soil(old, new)
    with pytest.raises(InputError, match=r"^Yosys failed: ERROR: Found \d+ problems in 'check "):
        soiled.yosys(tmp_path)
