"""What tests of the engines share: how cases are checked, and how hardware is broken.

A mutant is the source of one function with a small change.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nofm.rtl.bench.cases import Case
from nofm.rtl.hierarchy import Emitted, Unit, emitted, modules
from nofm.rtl.tools.cocotb_runner import replay

STALLS = ("count_stalled_input", "count_stalled_output")
Check = Callable[..., list[dict[str, Any]]]
Mutate = Callable[..., None]
Remake = Callable[[Sequence[Emitted], type[Unit]], dict[str, str]]


def _check(
    top: Unit,
    cases: Sequence[Case],
    folder: Path,
    tool: str,
    sources: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = replay(
        sources or modules(top), top.module_name, cases, folder=folder, tool=tool, counters=STALLS
    ).results["cases"]
    for case, result in zip(cases, results, strict=True):
        name = case.name
        assert result["error"] is None, name
        assert result["differences"] == [], name
        assert result["bit_exact"], name
        assert result["counters_equal"], name
        if case.idle.get("job", "steady") == "steady":
            jobs = result["jobs"]
            # A cycle takes the job, all others are counted.
            counted = [1 + job["count_busy"] + sum(job[stall] for stall in STALLS) for job in jobs]
            ends = itertools.pairwise(job["done_cycle"] for job in jobs)
            assert counted[1:] == [end - begin for begin, end in ends], name
    return results


def _mutate(owner: Any, name: str, old: str, new: str, patch: pytest.MonkeyPatch) -> None:
    sound = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(sound))
    assert old in source, f"{owner.__name__}.{name} has no {old!r}"
    scope = dict(vars(sys.modules[sound.__module__]))
    exec(source.replace(old, new, 1), scope)
    if inspect.isclass(owner):
        patch.setattr(owner, name, scope[name])
        return
    for module in list(sys.modules.values()):
        if module.__name__.startswith("nofm.") and vars(module).get(name) is sound:
            patch.setattr(module, name, scope[name])


def _remake(sound: Sequence[Emitted], kind: type[Unit]) -> dict[str, str]:
    whole = {each.unit.module_name: each.verilog for each in sound}
    texts = dict(whole)
    for each in sound:
        if isinstance(each.unit, kind):
            placed: set[str] = set()
            for again in emitted(each.unit):
                texts[again.unit.module_name] = again.verilog
                placed |= set(again.places)
                if placed <= texts.keys():
                    break
    assert texts != whole, f"{kind.__name__} has not changed"
    return texts


@pytest.fixture(scope="session")
def check() -> Check:
    """`check(top, cases, folder, tool, sources)`: an engine's bits and counters are those of the
    cases, and busy and stalled cycles add up to the time of each job. Returns the results.

    `sources` is the engine's Verilog by module; it is emitted, where not given."""
    return _check


@pytest.fixture(scope="session")
def mutate() -> Mutate:
    """`mutate(owner, name, old, new, patch)`: the first `old` in the source of a class's method, or
    of a module's function wherever that is imported, becomes `new` until `patch` is undone."""
    return _mutate


@pytest.fixture(scope="session")
def remake() -> Remake:
    """`remake(sound, kind)`: Verilog of a design by module, of which those of `kind` and what they
    place anew are emitted as they are now, and all others as they were."""
    return _remake
