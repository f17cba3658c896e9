"""What pages tell readers to type works: Python runs, commands parse, and shown output is theirs.

In a page, ```python blocks run in their order, in one namespace and one empty folder; a ```text
block after one is what it printed. Commands of ```console blocks (`$ nofm ...`) run there too, and
print what stands below them; a line `...` stands for any number of lines. Every other `nofm`
command, in a block or in a sentence, is read by the command line's own parser, and the names in it
are looked up, without running it.

An HTML comment right before a block says what else to do with it:

    <!-- not run: REASON -->   commands are only parsed; Python is only compiled
    <!-- file: NAME -->        the block is the content of that file
    <!-- before: ... -->       Python that runs before the block and that readers need not see
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer.main

from nofm.api import gemm_sizes
from nofm.cli.app import app, main
from nofm.cli.options import accelerator, check_together
from nofm.dataflow.methods import method
from nofm.kernels.errors import unknown
from nofm.kernels.pattern import Pattern
from nofm.rtl.engines import ENGINES
from nofm.simulator.processors import description
from nofm.simulator.scalesim import parse_array
from nofm.workloads.networks import NETWORKS
from nofm.workloads.training.datasets import DATASETS

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
LANGUAGES = (
    "",
    "console",
    "csv",
    "json",
    "python",
    "sh",
    "text",
    "toml",
    "{toctree}",
    "{eval-rst}",
)
PROGRAM = re.compile(r"(?:\.venv/bin/)?nofm ")


@dataclass(frozen=True)
class Block:
    """A block of code of a page: its language ("" where it is indented), text, line and mark."""

    language: str
    text: str
    line: int
    mark: str
    says: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page, fenced and indented, in their order."""
    lines = text.splitlines()
    comment, start = "", 0
    while start < len(lines):
        line = lines[start]
        if line.startswith("<!--"):
            end = next(i for i in range(start, len(lines)) if "-->" in lines[i])
            comment = "\n".join(lines[start : end + 1])[4:].rpartition("-->")[0].strip()
            start = end + 1
        elif line.startswith("```"):
            end = next(i for i in range(start + 1, len(lines)) if lines[i] == "```")
            inside = lines[start + 1 : end]
            yield _block(line.removeprefix("```"), inside, start, comment)
            comment, start = "", end + 1
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            end = start
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield _block("", [inside[4:] for inside in lines[start:end]], start, comment)
            comment, start = "", end
        else:
            comment, start = comment if not line.strip() else "", start + 1


def _block(language: str, lines: list[str], start: int, comment: str) -> Block:
    mark, _, says = comment.partition(":")
    if mark not in ("not run", "file", "before"):
        mark, says = "", ""
    return Block(language, "\n".join(lines).rstrip() + "\n", start + 1, mark, says.strip("\n "))


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with what is shown below it."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    if block.language != "console":
        return [(line, "") for line in joined.splitlines() if block.language in ("", "sh")]
    found: list[tuple[str, str]] = []
    for line in joined.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line.rstrip() + "\n")
    return found


def _file(*endings: str) -> Callable[[str], bool]:
    return lambda value: value.endswith(endings)


def _one_of(what: str, known: Any) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in known:
            raise unknown(what, value, list(known))

    return check


def _workload(value: str) -> None:
    if not _file(".csv", ".onnx", ".safetensors")(value) and ":" not in value:
        _one_of("network", NETWORKS)(value)


def _hardware(value: str) -> None:
    if not _file(".toml")(value):
        accelerator(value, ())


def _processor(value: str) -> None:
    if not _file(".toml")(value):
        description.load(value)


LOOKED_UP: dict[str, Callable[[str], object]] = {
    "array": parse_array,
    "dataflow": _one_of("dataflow", ("ws", "os", "is")),
    "dataset": _one_of("dataset", DATASETS),
    "device": _one_of("device", ("cpu", "arm", "cuda")),
    "engines": _one_of("engine", ENGINES),
    "gemm": gemm_sizes,
    "gemms": gemm_sizes,
    "hardware": _hardware,
    "method": method,
    "methods": method,
    "model": _workload,
    "pattern": Pattern.parse,
    "patterns": Pattern.parse,
    "stage": _one_of("stage", ("ff", "bp", "wu")),
    "suite": lambda value: value in ("bert", "llama") or _workload(value),
    "workload": _workload,
}
"""What the names in a command must be, by the parameter that takes them."""


def parse(command: str) -> None:
    """Read a `nofm` command as `nofm` would, and look up the names in it."""
    _, name, *arguments = shlex.split(command, comments=True)
    if name in ("--help", "--version"):
        return
    _one_of("command", COMMANDS)(name)
    if arguments == ["--help"]:
        return
    context = COMMANDS[name].make_context(name, list(arguments))
    check_together(context)
    for parameter, given in context.params.items():
        check = LOOKED_UP.get(parameter)
        if name == "compare" and parameter == "hardware":
            check = _processor
        if check is None or given is None:
            continue
        for value in given if isinstance(given, list | tuple) else [given]:
            check(str(value))
    hardware = context.params.get("hardware", "")
    if context.params.get("settings") and not hardware.endswith(".toml"):
        accelerator(hardware, context.params["settings"])


def check_line(line: str) -> None:
    """Look up what a line of a block that is not run would need."""
    line = line.strip()  # in a list, blocks stand further to the right
    if PROGRAM.match(line):
        parse(line)
    elif line.startswith("make "):
        _one_of("target", TARGETS)(line.split()[1])
    elif line.startswith("python ") and not line.split()[1].startswith(("-", "DIR")):
        assert (ROOT / line.split()[1]).is_file(), line


def run(command: str) -> tuple[int, str]:
    """The exit code of a `nofm` command, and what it printed."""
    out = io.StringIO()
    with (
        mock.patch("sys.argv", shlex.split(command, comments=True)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return int(left.value.code or 0), out.getvalue()


def shown(expected: str) -> str:
    """A pattern for what a page shows: a line `...` stands for any number of lines."""
    lines = (r"(?:.*\n)*?" if x == "..." else re.escape(x) + "\n" for x in expected.splitlines())
    return "".join(lines)


def same(expected: str, printed: str) -> bool:
    """Whether a page shows what was printed, blanks at ends of lines and empty lines aside."""
    bare = "".join(line.rstrip() + "\n" for line in printed.splitlines() if line.strip())
    wanted = "".join(line + "\n" for line in expected.splitlines() if line.strip())
    return re.fullmatch(shown(wanted), bare) is not None


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_are_those_of_the_command_line(page: Path) -> None:
    """In blocks whole; in sentences, the command's name and its options."""
    text = page.read_text("utf-8")
    for block in blocks(text):
        for line, _ in commands(block):
            try:
                check_line(line)
            except Exception as error:
                pytest.fail(f"{ids(page)}, line {block.line}: {line}: {error}")
    for span in re.findall(r"`(nofm [^`]+)`", re.sub(r"^(```|    ).*$", "", text, flags=re.M)):
        words = re.sub(r"\s+", " ", span).split()[1:]
        if words[0] not in COMMANDS:
            assert words[0] in ("--help", "--version", "COMMAND", "..."), span
            continue
        known = {
            option
            for parameter in COMMANDS[words[0]].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        } | {"--help"}
        unknown_options = [x for x in words if re.match("--?[a-z]", x) and x not in known]
        assert unknown_options == [], f"{ids(page)}: {span}"


RUN = [
    page
    for page in PAGES
    if any(block.language in ("python", "console") for block in blocks(page.read_text("utf-8")))
]


@pytest.mark.parametrize("page", RUN, ids=ids)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Only what `nofm` is told to take from the folder it runs in.
    names: dict[str, Any] = {"__name__": "__page__"}
    printed: str | None = None
    for block in blocks(page.read_text("utf-8")):
        where = f"{ids(page)}, line {block.line}"
        if block.mark == "file":
            Path(block.says).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            if block.mark == "before":
                exec(compile(block.says, where, "exec"), names)
            code = compile(block.text, where, "exec")
            out = io.StringIO()
            if block.mark != "not run":
                with contextlib.redirect_stdout(out):
                    exec(code, names)
                printed = out.getvalue()
        elif block.language == "text":
            assert printed is not None, where
            if not same(block.text, printed):
                pytest.fail(f"{where}: what is above it prints\n{printed}")
            printed = None
        elif block.language == "console" and block.mark != "not run":
            for command, expected in commands(block):
                code, printed = run(command)
                assert code == 0, f"{where}: {command}: {printed}"
                if expected and not same(expected, printed):
                    pytest.fail(f"{where}: {command} prints\n{printed}")


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_marks_are_known_and_have_a_reason(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        assert block.mark == "" or block.says, f"{ids(page)}, line {block.line}"
        assert block.language in LANGUAGES


PAGE = """\
Text `nofm networks`.

    nofm simulate resnet18 --batch 8 \\
        --method srste

<!-- file: a.py -->
```python
A = 1
```

<!-- not run: needs a device -->

```console
$ nofm bench --gemm 8x8x8
one
two
```
"""


def test_the_reader_of_pages() -> None:
    first, second, third = blocks(PAGE)
    assert commands(first) == [("nofm simulate resnet18 --batch 8 --method srste", "")]
    assert (second.mark, second.says, second.text) == ("file", "a.py", "A = 1\n")
    assert (third.mark, third.says) == ("not run", "needs a device")
    assert commands(third) == [("nofm bench --gemm 8x8x8", "one\ntwo\n")]


@pytest.mark.parametrize(
    "line",
    [
        "nofm simulat resnet18",
        "nofm simulate resnet19",
        "nofm simulate resnet18 --bach 8",
        "nofm simulate resnet18 --method bdwpp",
        "nofm simulate resnet18 --pattern 8:2",
        "nofm simulate resnet18 --hardware sat-33x33",
        "nofm simulate resnet18 --set array.row=3",
        "nofm simulate --gemm 4096x1152",
        "nofm simulate resnet18 --gemm 8x8x8",
        "nofm compare results.json --hardware sat-4x4",
        "nofm rtl --engine stc -o build/",
        "make tests",
        "python tools/nothing.py",
    ],
)
def test_wrong_commands_are_found(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever it is, the page fails
        check_line(line)


def test_output_is_compared() -> None:
    assert same("a\n...\nd\n", "a   \n\nb\nc\nd\n")
    assert same("a\n...\n", "a\n")
    assert not same("a\nb\n", "a\nb\nc\n")
    assert not same("a\n...\nd\n", "a\nb\n")
