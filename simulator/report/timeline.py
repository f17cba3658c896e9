"""Timeline of a simulated step, in the JSON that Perfetto and Chrome's tracing page open.

An accelerator is a process and each of its engines a thread. Times are those of the simulated
clock, in microseconds, rounded to whole nanoseconds.
"""

from __future__ import annotations

from typing import Any

from nofm.simulator.report import summary
from nofm.simulator.report.units import plain
from nofm.simulator.result import STALLS, StepResult

THREADS: dict[str, str] = {
    "step": "Step",
    "array": "STCE (array)",
    "vector": "Vector engine",
    "wuve": "WUVE (optimizer)",
    "sore": "SORE (pruner)",
}
"""Threads of a process, by engine; their numbers are their places, from 1."""

ARGUMENTS = (
    *("m", "k", "n", "count", "pattern", "dataflow", "tile"),
    *("cycles", "compute_cycles", "stall_cycles", "utilization"),
    *("dram_bytes", "energy_pj", "dense_cycles", "speedup"),
)
"""Columns of a job that its slice shows."""


def to_timeline(result: StepResult) -> dict[str, Any]:
    """The step, and the same step trained dense as a second process, as Trace Event JSON.

    Every job is a slice on the thread of its engine; new weights that pass the pruner on their
    way out occupy both WUVE and SORE. Counters give the DRAM traffic and the array's utilisation
    job by job: constant over a job, whatever happens within it.
    """
    events = _process(result, 1)
    if result.dense is not None:
        events += _process(result.dense, 2)
    return {
        "displayTimeUnit": "ns",
        "otherData": {"workload": plain(summary.title(result))},
        "traceEvents": events,
    }


def _process(result: StepResult, process: int) -> list[dict[str, Any]]:
    name = plain(f"{result.accelerator.name}: {result.method} {result.pattern}".strip())
    threads = {engine: number for number, engine in enumerate(THREADS, 1)}
    events: list[dict[str, Any]] = [_name("process_name", process, 0, name)]
    events.append(_event("M", process, 0, name="process_sort_index", args={"sort_index": process}))
    for engine, number in threads.items():
        events.append(_name("thread_name", process, number, THREADS[engine]))
        order = {"sort_index": number}
        events.append(_event("M", process, number, name="thread_sort_index", args=order))

    rows = summary.records(result.layers)
    clock = result.accelerator.clock_hz
    events += _phases(rows, clock, process, threads["step"])
    end = 0
    for row in rows:
        start, end = row["start_cycle"], row["start_cycle"] + row["cycles"]
        times = _times(start, end, clock)
        for engine in engines(row):
            events.append(
                _event(
                    "X",
                    process,
                    threads[engine],
                    **times,
                    name=f"{plain(row['layer'])} {row['stage']}",
                    cat=row["stage"],
                    args=_arguments(row),
                )
            )
        traffic = row["dram_bytes"] / row["cycles"]
        events += _counters(process, times["ts"], traffic, row["utilization"])
    return events + _counters(process, _times(end, end, clock)["ts"], 0.0, 0.0)


def _phases(
    rows: list[dict[str, Any]], clock: int, process: int, thread: int
) -> list[dict[str, Any]]:
    """Forward up to the last forward job, then backward and update."""
    forward = [place for place, row in enumerate(rows) if row["stage"] == "ff"]
    first_backward = forward[-1] + 1 if forward else 0
    phases = {
        "forward": rows[:first_backward],
        "backward and update": rows[first_backward:],
    }
    return [
        _event(
            "X",
            process,
            thread,
            **_times(some[0]["start_cycle"], some[-1]["start_cycle"] + some[-1]["cycles"], clock),
            name=name,
            cat="step",
            args={"jobs": len(some), "cycles": sum(row["cycles"] for row in some)},
        )
        for name, some in phases.items()
        if some
    ]


def engines(row: dict[str, Any]) -> list[str]:
    """The engines that a job occupies."""
    if row["macs"] > 0:
        return ["array"]
    return [str(engine) for engine in row["dataflow"].split("+")]


def _arguments(row: dict[str, Any]) -> dict[str, Any]:
    stalls = {
        f"stall: {STALLS[cause]} (cycles)": row[f"stall_{cause}_cycles"]
        for cause in STALLS
        if row[f"stall_{cause}_cycles"]
    }
    return {name: row[name] for name in ARGUMENTS} | stalls


def _times(start_cycle: int, end_cycle: int, clock_hz: int) -> dict[str, float]:
    """Start and duration in µs. Both ends are rounded, so that neighbours meet without a gap."""
    start, end = ((cycle * 10**9 + clock_hz // 2) // clock_hz for cycle in (start_cycle, end_cycle))
    return {"ts": start / 1000, "dur": (end - start) / 1000}


def _event(phase: str, process: int, thread: int, **rest: Any) -> dict[str, Any]:
    return {"ph": phase, "pid": process, "tid": thread, **rest}


def _name(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return _event("M", process, thread, name=what, args={"name": name})


def _counters(
    process: int, time: float, traffic: float, utilization: float
) -> list[dict[str, Any]]:
    values = {
        "DRAM traffic (bytes/cycle)": traffic,
        "array utilisation (%)": 100 * utilization,
    }
    return [
        _event("C", process, 0, ts=time, name=name, args={"value": round(value, 3)})
        for name, value in values.items()
    ]
