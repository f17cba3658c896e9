"""The bench of every engine: feed it the words of a case file, compare what comes out.

Arguments: `cases`, the path of the case file, and `strict`: whether the test is to fail where a
case differs; else only the results tell. Results: `simulator`, and for each of `cases` `name`,
`bit_exact` (every word as it must be, and none missing or left over), `counters_equal`, `words`
compared, `jobs` (counters and `done_cycle` of each), `cycles`, `differences` (the first few, as
texts) and `error` (a text when the case could not come to its end).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cocotb

from .cases import Case, Lanes, arguments, read_cases, report
from .engine import End, Engine, TimeOut, simulator
from .patterns import Pattern, pattern
from .ports import PortError
from .streams import Driver, Monitor, StreamError

SHOWN = 8
QUIET_CYCLES = 8
"""Cycles after the end of a case in which a word that nobody expects would be seen."""


@cocotb.test()
async def replay(dut: Any) -> None:
    """Run every case of the file."""
    cases, counters = read_cases(Path(arguments()["cases"]))
    results = []
    clocked = False
    for case in cases:
        engine = prepare(dut, case, counters)
        if not clocked:
            engine.start()
            clocked = True
        results.append(await run_case(engine, case))
    report({"simulator": simulator(), "cases": results})
    if arguments().get("strict"):
        differ = [r["name"] for r in results if not (r["bit_exact"] and r["counters_equal"])]
        assert not differ, f"cases that differ: {', '.join(differ)}"


def prepare(dut: Any, case: Case, counters: Sequence[str], others: Sequence[End] = ()) -> Engine:
    """The engine with a driver or a monitor at each stream of the case, and `others`."""
    drivers = [
        Driver(dut, name, len(lanes), _patterns(case, case.idle, name, len(lanes)))
        for name, lanes in case.inputs.items()
    ]
    monitors = [
        Monitor(dut, name, len(lanes), _patterns(case, case.backpressure, name, len(lanes)))
        for name, lanes in case.outputs.items()
    ]
    return Engine(dut, drivers, monitors, counters, others)


def _patterns(case: Case, texts: Any, name: str, lanes: int) -> list[Pattern]:
    text = texts.get(name, "steady")
    # Streams and lanes of one case must not move in step.
    start = sum(map(ord, name))
    return [pattern(text, hash((case.seed, start, lane))) for lane in range(lanes)]


async def run_case(engine: Engine, case: Case) -> dict[str, Any]:
    """Run one case; its entry of the results."""
    error = None
    try:
        await engine.reset()
        _send(engine, case)
        if case.reset_at is not None:
            await engine.run(lambda: engine.cycle == case.reset_at, case.reset_at)
            await engine.reset()
            _send(engine, case)
        wanted = sum(len(words) for lanes in case.outputs.values() for words in lanes)
        await engine.run(
            lambda: (
                len(engine.finished) >= case.jobs
                and sum(monitor.count for monitor in engine.monitors) >= wanted
                and not any(driver.left for driver in engine.drivers)
            ),
            case.limit,
        )
        cycles = engine.cycle
        await engine.run(lambda: engine.cycle == cycles + QUIET_CYCLES, cycles + QUIET_CYCLES)
    except (PortError, StreamError, TimeOut) as fault:
        error = str(fault)
        cycles = engine.cycle
    words = differences(engine, case)
    counts = counter_differences(engine, case)
    return {
        "name": case.name,
        "bit_exact": error is None and not words,
        "counters_equal": error is None and not counts,
        "words": sum(monitor.count for monitor in engine.monitors),
        "jobs": engine.finished,
        "last_words": {monitor.name: monitor.last_cycle for monitor in engine.monitors},
        "cycles": cycles,
        "differences": [*words[:SHOWN], *counts[:SHOWN]],
        "error": error,
    }


def _send(engine: Engine, case: Case) -> None:
    for driver in engine.drivers:
        for lane, words in enumerate(case.inputs[driver.name]):
            driver.send(words, lane)


def differences(engine: Engine, case: Case) -> list[str]:
    """Every word that came out and differs from what must, that is missing, or left over."""
    found = []
    for monitor in engine.monitors:
        expected = case.outputs[monitor.name]
        cares: Lanes = case.cares.get(monitor.name, [[]] * monitor.lanes)
        for lane in range(monitor.lanes):
            digits = -(-monitor.width // 4)
            rows = zip_longest(expected[lane], monitor.words[lane], cares[lane])
            for index, (wanted, seen, care) in enumerate(rows):
                if wanted is None or seen is None:
                    what = "missing" if seen is None else "left over"
                elif wanted == seen or (care is not None and not (wanted ^ seen) & care):
                    continue
                else:
                    what = f"{seen:0{digits}x}, not {wanted:0{digits}x}"
                found.append(f"{monitor.name}, lane {lane}, word {index}: {what}")
    return found


def counter_differences(engine: Engine, case: Case) -> list[str]:
    """Every counter that differs from what the case demands, and a number of jobs that does."""
    found = []
    if len(engine.finished) != case.jobs:
        found.append(f"{len(engine.finished)} jobs done, not {case.jobs}")
    for name, values in case.counters.items():
        for job, (wanted, seen) in enumerate(zip(values, engine.finished, strict=False)):
            if seen[name] != wanted:
                found.append(f"{name}, job {job}: {seen[name]}, not {wanted}")
    return found
