"""The command line, run in this process: its exit code and what it printed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from nofm.cli import main


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """The one JSON document that it printed, and nothing else."""
        assert (self.code, self.err) == (0, "")
        assert len(self.out.splitlines()) == 1
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refusal(self) -> str:
        """The one line that it printed on stderr, and nothing on stdout, for bad input."""
        assert self.code == 2
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("nofm: ")
        return line.removeprefix("nofm: ")


def run(*arguments: object) -> Ran:
    """Run `nofm` with `arguments`."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["nofm", *map(str, arguments)]
    with (
        mock.patch("sys.argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return Ran(int(left.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def nofm() -> Callable[..., Ran]:
    """The command."""
    return run
