"""Write docs/cli.md: every command with its arguments and options, as the command knows them.

    python tools/cli_reference.py

A test compares the page with the command.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main

from nofm.cli.app import app

PAGE = Path(__file__).resolve().parents[1] / "docs/cli.md"
HEAD = """\
# The command line

<!-- written by tools/cli_reference.py from the command itself -->

`nofm COMMAND --help` prints the same. Every command that has `--json` then prints one
[document](json.md) and nothing else. Exit codes: 0; 1, what was checked does not hold; 2, bad
input, told in one line.
"""


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(_command(name, group.commands[name]) for name in group.commands)])


def _command(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    found = [one for one in command.get_params(context) if one.name != "help"]
    arguments = [one for one in found if one.param_type_name == "argument"]
    titles = [one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments]
    usage = " ".join(["nofm", name, *titles, "[OPTIONS]"])
    help_lines = _marked(command.help.strip()).splitlines()
    lines = [f"## nofm {name}", "", f"`{usage}`", "", *help_lines, ""]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{one.name.upper()}` | {_row(one, context)[2]} |" for one in arguments]
        lines.append("")
    lines += ["| option | default | meaning |", "|---|---|---|"]
    for one in found:
        if one not in arguments:
            title, default, meaning = _row(one, context)
            lines.append(f"| `{title}` | {default} | {meaning} |")
    return "\n".join([*lines, ""])


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    """How a parameter is written, its default, and what it means, as cells of a table."""
    title, text = parameter.get_help_record(context)
    meaning, _, default = text.partition("  [default: ")
    if getattr(parameter, "multiple", False):
        title = title.replace("list[", "").replace("]>", ">")
        meaning += "" if "repeat" in meaning else " Repeat for more."
    shown = f"`{default.removesuffix(']')}`" if default else ""
    return title.replace("|", r"\|"), shown, _marked(meaning.replace("|", r"\|"))


def _marked(text: str) -> str:
    """A text with the options that it names as code."""
    return re.sub(r"`[^`]*`|--[a-z][a-z-]*", lambda found: f"`{found[0].strip('`')}`", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
