"""Running a bench inside a Verilog simulator: Icarus or Verilator, by cocotb's Python runner."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

from cocotb_tools import runner

from nofm.kernels.errors import InputError, unknown
from nofm.rtl.bench.cases import Case, write_cases
from nofm.rtl.tools import find
from nofm.rtl.tools.find import Tool

TOOLS = {"icarus": find.icarus, "verilator": find.verilator}

# Which simulator comes to its end first. Icarus starts at once and evaluates about this many lines
# of an elaborated design in a second; Verilator compiles first, for about so long.
ICARUS_LINES_A_SECOND = 2_000_000
VERILATOR_BUILD_SECONDS = 20.0

PORT = re.compile(r"^\s*(?:input|output)\b(?:\s+(?:wire|reg))?(?:\s*\[[^\]]*\])?\s+(\w+)", re.M)
INSTANCE = re.compile(r"^\s*(\w+)\s+(?:\\\S+|\w+)\s*\($", re.M)


class SimulationError(RuntimeError):
    """A simulator or its bench failed; the text is one line and names the log."""


@dataclass(frozen=True)
class Run:
    """One run of a bench that came to its end.

    Attributes:
        results: what the bench reported.
        tool: "icarus" or "verilator".
        version: of the tool.
        log: what the simulator printed.
        waveform: the waveform, if one was asked for: FST of Icarus, VCD of Verilator.
        build_seconds: time to build, near 0 where an earlier build was used again.
        run_seconds: time of the simulator's process.
    """

    results: dict[str, Any]
    tool: str
    version: str
    log: Path
    waveform: Path | None
    build_seconds: float
    run_seconds: float


def run(
    sources: Mapping[str, str] | Path,
    top: str,
    bench_module: str,
    *,
    folder: Path,
    builds: Path | None = None,
    tool: str = "auto",
    arguments: Mapping[str, Any] | None = None,
    name: str = "run",
    waveform: bool = False,
    hierarchical: Sequence[str] = (),
    optimized: bool = True,
    seed: int = 0,
    cycles: int = 0,
    time_out_seconds: float = 3600.0,
) -> Run:
    """Build Verilog, if that was not done before, and run a bench in the simulator's process.

    Args:
        sources: Verilog by module, or a folder of `.v` files.
        top: name of the top module.
        bench_module: import path of the module that holds the bench.
        folder: where the run gets a folder of its own, which is emptied first.
        builds: where builds are kept and found again; `folder`, if not given.
        tool: "icarus", "verilator", or "auto" for the one that is expected to end first.
        arguments: what `nofm.rtl.bench.cases.arguments` gives the bench.
        name: the run's folder; runs of one name must not be under way at the same time.
        waveform: record one, of every signal.
        hierarchical: modules that Verilator compiles once each, however often they are placed.
        optimized: compile Verilator's C++ to run fast; else to be compiled soon, which is sooner
            over where a large design runs for few cycles.
        seed: of the bench's random numbers.
        cycles: how many will be run, as far as known; "auto" goes by it.
        time_out_seconds: when to stop a simulator that does not end.

    Raises:
        InputError: an unknown or a missing tool.
        SimulationError: the build failed, the simulator crashed, or the bench did not report.
    """
    texts = _texts(sources)
    chosen = _choose(tool, texts, top, cycles)
    found = TOOLS[chosen]()
    here = folder.resolve() / name
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    start = time.perf_counter()
    build = _Build(found, chosen, texts, top, waveform, tuple(hierarchical), optimized)
    built = build.find_or_make((builds or folder).resolve(), here / "build.log")
    built_at = time.perf_counter()
    (here / "arguments.json").write_text(json.dumps(dict(arguments or {})), encoding="utf-8")
    results = here / "results.json"
    wave = here / f"{top}.{'fst' if chosen == 'icarus' else 'vcd'}" if waveform else None
    environment = {
        "NOFM_ARGUMENTS": str(here / "arguments.json"),
        "NOFM_RESULTS": str(results),
        # Colour and pytest's rewriting of assertions are of no use there, and the latter is slow.
        "NO_COLOR": "1",
        "COCOTB_REWRITE_ASSERTION_FILES": "",
    }
    log = here / "simulator.log"
    simulator = _RUNNERS[chosen](found, time_out_seconds)
    try:
        # Under pytest, cocotb's runner would judge the results itself and leave by SystemExit.
        with _without("PYTEST_CURRENT_TEST", "WAVES", "GUI"), suppress(SystemExit):
            simulator.test(
                bench_module,
                top,
                hdl_toplevel_lang="verilog",
                seed=seed,
                build_dir=built,
                test_dir=here,
                results_xml=str(here / "cocotb.xml"),
                extra_env=environment,
                plusargs=_wave_options(chosen, wave),
                waves=waveform,
                log_file=log,
            )
    except (RuntimeError, subprocess.TimeoutExpired):
        raise SimulationError(_what_went_wrong(chosen, log)) from None
    if not results.exists() or _failures(here / "cocotb.xml"):
        raise SimulationError(_what_went_wrong(chosen, log))
    return Run(
        results=json.loads(results.read_text(encoding="utf-8")),
        tool=chosen,
        version=found.version,
        log=log,
        waveform=wave,
        build_seconds=built_at - start,
        run_seconds=time.perf_counter() - built_at,
    )


def replay(
    sources: Mapping[str, str] | Path,
    top: str,
    cases: Sequence[Case],
    *,
    folder: Path,
    counters: Sequence[str] = (),
    name: str = "run",
    **options: Any,
) -> Run:
    """Run an engine through cases; `results["cases"]` is as `nofm.rtl.bench.replay` says.

    Args:
        sources, top, folder, name, options: as in `run`.
        cases: what the engine gets and what it must give.
        counters: counters to report, beside those that the cases demand.

    Raises:
        InputError, SimulationError: as `run` does. What a case finds is no error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the run's folder, which a run begins by emptying.
    path = folder.resolve() / f"{name}.npz"
    write_cases(path, cases, counters)
    options.setdefault("cycles", sum(case.limit for case in cases) // 4)
    return run(
        sources,
        top,
        "nofm.rtl.bench.replay",
        folder=folder,
        arguments={"cases": str(path)},
        name=name,
        **options,
    )


def _texts(sources: Mapping[str, str] | Path) -> dict[str, str]:
    if not isinstance(sources, Path):
        return dict(sources)
    files = sorted(sources.glob("*.v"))
    if not files:
        raise InputError(f"{sources} must hold .v files, and has none")
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def _choose(tool: str, texts: Mapping[str, str], top: str, cycles: int) -> str:
    if tool in TOOLS:
        return tool
    if tool != "auto":
        raise unknown("simulator", tool, ["auto", *TOOLS])
    seconds = elaborated_lines(texts, top) * cycles / ICARUS_LINES_A_SECOND
    order = ["icarus", "verilator"] if seconds <= VERILATOR_BUILD_SECONDS else [*TOOLS][::-1]
    for name in order:
        with suppress(InputError):
            TOOLS[name]()
            return name
    return order[0]


def elaborated_lines(texts: Mapping[str, str], top: str) -> int:
    """Lines of Verilog in `top` and in all that it places, as often as it is placed."""
    known: dict[str, int] = {}

    def lines(module: str) -> int:
        if module not in known:
            text = texts[module]
            placed = [name for name in INSTANCE.findall(text) if name in texts]
            known[module] = text.count("\n") + sum(map(lines, placed))
        return known[module]

    return lines(top)


VERILATOR_OPTIONS = (
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert"),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style"),
)


@dataclass(frozen=True)
class _Build:
    """One way of building one design: everything that its outcome depends on."""

    found: Tool
    tool: str
    texts: Mapping[str, str]
    top: str
    waveform: bool
    hierarchical: tuple[str, ...]
    optimized: bool

    def _key(self, *parts: object) -> str:
        common = (self.found.path, self.found.version, metadata.version("cocotb"), sys.prefix)
        text = repr((common, self.waveform, self.optimized, VERILATOR_OPTIONS, parts))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def find_or_make(self, folder: Path, log: Path) -> Path:
        """The folder below `folder` that holds this build."""
        key = self._key(self.top, self.hierarchical, sorted(self.texts.items()))
        built = folder / f"build-{self.tool}-{key}"
        if built.is_dir():
            return built
        folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=folder, prefix=f".{built.name}."))
        try:
            self._make(making, folder / f"runtime-{self._key()}", log)
            # Whoever comes second finds the same build there.
            with suppress(OSError):
                making.rename(built)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return built

    def _make(self, folder: Path, runtime: Path, log: Path) -> None:
        files = [folder / f"{module}.v" for module in self.texts]
        for file, text in zip(files, self.texts.values(), strict=True):
            file.write_text(text, encoding="utf-8")
        options = ["-g2005-sv"]
        if self.tool == "verilator":
            files.append(folder / "control.vlt")
            files[-1].write_text(_control(self.texts, self.top, self.hierarchical), "utf-8")
            options = [*VERILATOR_OPTIONS, *(["--hierarchical"] if self.hierarchical else [])]
            for made in runtime.glob("*.o"):
                shutil.copyfile(made, folder / made.name)
        try:
            with _without("WAVES", "GUI"):
                simulator: Any = _RUNNERS[self.tool](self.found, None)
                simulator.optimized = self.optimized
                simulator.build(
                    sources=files,
                    hdl_toplevel=self.top,
                    build_args=options,
                    build_dir=folder,
                    always=True,
                    timescale=("1ns", "1ns"),
                    waves=self.waveform,
                    log_file=log,
                )
        except RuntimeError:
            raise SimulationError(_what_went_wrong(self.tool, log)) from None
        if self.tool == "verilator":
            self._keep_runtime(folder, runtime)
        _keep_only(folder, {self.top, "sim.vvp", *(file.name for file in files)})

    def _keep_runtime(self, folder: Path, runtime: Path) -> None:
        """Keep Verilator's own objects: they are the same for every design, and slow to compile."""
        if runtime.exists():
            return
        keeping = Path(tempfile.mkdtemp(dir=runtime.parent, prefix=f".{runtime.name}."))
        for made in folder.glob("verilated*.o"):
            shutil.copyfile(made, keeping / made.name)
        with suppress(OSError):
            keeping.rename(runtime)
        shutil.rmtree(keeping, ignore_errors=True)


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()


def _control(texts: Mapping[str, str], top: str, hierarchical: Sequence[str]) -> str:
    """Verilator's control file: only the ports of the top module are seen from outside."""
    head = texts[top][texts[top].index(f"module {top}") :]
    ports = PORT.findall(head[: head.index("endmodule")])
    lines = [
        "`verilator_config",
        *(f'public_flat_rw -module "{top}" -var "{port}"' for port in ports),
        *(f'hier_block -module "{module}"' for module in hierarchical),
    ]
    return "\n".join(lines) + "\n"


def _wave_options(tool: str, wave: Path | None) -> list[str]:
    if wave is None:
        return []
    return [f"+dumpfile_path={wave}"] if tool == "icarus" else ["--trace-file", str(wave)]


def _failures(path: Path) -> int:
    """How many tests failed, 1 where that is not known."""
    if not path.exists():
        return 1
    suites = ElementTree.parse(path).getroot().iter("testsuite")
    return sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites)


def _what_went_wrong(tool: str, log: Path) -> str:
    """One line: the first error that the log holds, and where the log is."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    wrong = re.search(r"^(?:.*\b(?:%?Error|error|ERROR|[A-Z]\w*Error|\w*TimeOut):.*)$", text, re.M)
    what = "failed" if log.name == "build.log" else "failed or did not report"
    said = f": {wrong[0].strip()}" if wrong else ""
    return f"{tool} {what}{said} (log: {log})"


class _without:
    """Take variables out of the environment for a while."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __enter__(self) -> None:
        self._taken = {name: os.environ.pop(name) for name in self._names if name in os.environ}

    def __exit__(self, *_: object) -> None:
        os.environ.update(self._taken)


class _Found:
    """What both runners add to cocotb's: the tool that was found, and an end to waiting."""

    env: dict[str, str]
    optimized = True

    def __init__(self, tool: Tool, time_out_seconds: float | None) -> None:
        self._tool = tool
        self._time_out_seconds = time_out_seconds
        super().__init__()

    def _set_env_common(self) -> None:
        super()._set_env_common()  # type: ignore[misc]
        path = self.env["PATH"]
        self.env.update(self._tool.environment)
        self.env["PATH"] = self._tool.environment.get("PATH", path)

    def _execute_cmds(self, commands: Any, folder: Any, output: TextIO | None = None) -> None:
        for command in commands:
            done = subprocess.run(
                command,
                cwd=folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=self._time_out_seconds,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"{command[0]} ended with {done.returncode}")


class _Icarus(_Found, runner.Icarus):
    """Icarus, as cocotb runs it."""


class _Verilator(_Found, runner.Verilator):
    """Verilator: cocotb's way makes every signal public, which takes minutes for an array."""

    def _simulator_in_path_build_only(self) -> None:
        self.executable = self._tool.path

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        # Objects that stand there already are those of an earlier build: up to date, though old.
        ready = sorted(path.name for path in self.build_dir.glob("*.o"))
        kept = [f"--old-file={name}" for name in ready]
        level = "-O2" if self.optimized else "-O0"
        return [verilate, [*make, f"OPT_FAST={level}", "OPT_SLOW=-O0", *kept]]


_RUNNERS = {"icarus": _Icarus, "verilator": _Verilator}
