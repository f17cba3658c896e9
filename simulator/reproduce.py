"""The experiment of the SAT paper: five networks, five methods, three patterns, the ablation.

Fang, Sun, Zhou, Wang, "Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and
Dataflow Co-Design", IEEE TCAD 2023: BDWP at 2:8 trains 1.75 times faster than dense training, on
average over the networks. What the paper's text does not give is assumed; `SENSITIVITY` varies
every such parameter. Nothing here is fitted to the paper's figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.batch import StepBatch
from nofm.simulator.result import StepResult
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.trace import Trace

NETWORKS = ("resnet9", "vit", "vgg19", "resnet18", "resnet50")
"""The paper's networks."""
COMPARED = ("srste", "sdgp", "sdwp", "bdwp")
"""Methods compared with dense training."""
PATTERNS = (Pattern(2, 4), Pattern(2, 8), Pattern(1, 8))
BATCH = 512
HEADLINE = ("bdwp", Pattern(2, 8))
PAPER_SPEEDUP = 1.75
"""BDWP at 2:8 over dense training, average of the networks (abstract of the paper)."""

ABLATION: dict[str, Options] = {
    "all optimisations": Options(),
    "without interleave": Options(interleave=False),
    "without pre-generation": Options(pregeneration=False),
    "without offline scheduling": Options(schedule="fixed"),
    "WS only": Options(schedule="ws"),
    "OS only": Options(schedule="os"),
}
"""The three dataflow optimisations, each left out, and each dataflow alone."""

SENSITIVITY: dict[str, tuple[Any, ...]] = {
    "batch": (128, 2048),
    "array.rows": (16, 64),
    "array.columns": (16, 64),
    "array.interleave": (4, 16),
    "array.multiplier_cycles": (1, 4),
    "array.adder_cycles": (2, 8),
    "array.accumulator_cycles": (1, 4),
    "array.group_port_elements": (4, 16),
    "clock_mhz": (100.0, 400.0),
    "sore.latency_cycles": (2, 8),
    "wuve.lanes": (16, 64),
    "wuve.latency_cycles": (12, 48),
    "vector.lanes": (32, 128),
    "vector.latency_cycles": (4, 16),
    "vector.fused": ((), ("elementwise", "normalisation", "pooling", "softmax", "reduction")),
    "buffers.activation_kib": (512, 8192),
    "buffers.weight_kib": (512, 8192),
    "buffers.output_kib": (512, 8192),
    "dram.bandwidth_gbps": (12.8, 51.2),
    "dram.latency_ns": (50.0, 200.0),
    "dram.burst_bytes": (32, 128),
}
"""Assumed parameters of the experiment and the accelerator, with values below and above those
used. (Energies do not change a speedup.)"""


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        hardware, batch: on what.
        speedups: one dict for each network, method and pattern: `network`, `method`, `pattern`,
            `cycles`, `dense_cycles`, `speedup` (the whole step), `product_speedup` (matrix
            products alone) and `bound` (what skipped multiply-accumulates alone allow).
        ablation: one dict for each network and entry of `ABLATION`, for `HEADLINE`: `network`,
            `variant`, `cycles`, `speedup` over dense training with all optimisations.
        sensitivity: one dict for each entry of `SENSITIVITY` and value: `parameter`, `preset`,
            `value`, `speedup` (average over the networks, for `HEADLINE`).
    """

    hardware: str
    batch: int
    speedups: list[dict[str, Any]]
    ablation: list[dict[str, Any]]
    sensitivity: list[dict[str, Any]]

    def average(self, method: str, pattern: str, field: str = "speedup") -> float:
        """Arithmetic mean over the networks, as the paper averages."""
        return fmean(
            row[field]
            for row in self.speedups
            if row["method"] == method and row["pattern"] == pattern
        )


def reproduce(
    traces: Sequence[Trace],
    accelerator: Accelerator,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Reproduction:
    """Run the experiment.

    Args:
        traces: the networks, each at its batch.
        accelerator: the machine.
        progress: called with what is being done, and how much of how much is done.
    """
    steps = len(traces) * (1 + len(ABLATION)) + sum(map(len, SENSITIVITY.values()))
    done = 0
    speedups: list[dict[str, Any]] = []
    ablation: list[dict[str, Any]] = []
    for trace in traces:
        progress(f"{trace.name}: methods and patterns", done, steps)
        dense = simulate_step(trace, accelerator, METHODS["dense"])
        headline = dense
        for method in COMPARED:
            for pattern in PATTERNS:
                result = simulate_step(trace, accelerator, METHODS[method], pattern, dense=dense)
                speedups.append(_speedup(trace, result))
                if (method, pattern) == HEADLINE:
                    headline = result
        done += 1
        progress(f"{trace.name}: ablation", done, steps)
        for variant, result in ablate(trace, headline):
            ablation.append(
                {
                    "network": trace.name,
                    "variant": variant,
                    "cycles": result.total["cycles"],
                    "speedup": result.total["speedup"],
                }
            )
            done += 1
            progress(f"{trace.name}: ablation", done, steps)
    sensitivity = []
    for name, values in SENSITIVITY.items():
        for value in values:
            progress(f"sensitivity to {name}", done, steps)
            changed, used = accelerator, traces
            if name == "batch":
                used = [trace.with_batch(value) for trace in traces]
            else:
                changed = accelerator.with_values(**{name: value})
            sensitivity.append(
                {
                    "parameter": name,
                    "preset": traces[0].batch if name == "batch" else _value(accelerator, name),
                    "value": value,
                    "speedup": fmean(_headline(trace, changed) for trace in used),
                }
            )
            done += 1
    progress("done", done, steps)
    return Reproduction(accelerator.name, traces[0].batch, speedups, ablation, sensitivity)


def ablate(trace: Trace, step: StepResult) -> Iterator[tuple[str, StepResult]]:
    """A sparse step by the entries of `ABLATION`, compared with the same dense step."""
    for variant, options in ABLATION.items():
        if asdict(options) == step.optimizations:
            yield variant, step
            continue
        method, pattern = METHODS[step.method], Pattern.parse(step.pattern)
        yield (
            variant,
            simulate_step(trace, step.accelerator, method, pattern, options, dense=step.dense),
        )


def _speedup(trace: Trace, result: StepResult) -> dict[str, Any]:
    total = result.total
    return {
        "network": trace.name,
        "method": result.method,
        "pattern": result.pattern,
        "cycles": total["cycles"],
        "dense_cycles": total["dense_cycles"],
        "speedup": total["speedup"],
        "product_speedup": total["product_speedup"],
        "bound": total["macs"] / total["effective_macs"],
    }


def _headline(trace: Trace, accelerator: Accelerator) -> float:
    """Speedup of the headline method on an accelerator, by the quick way."""
    method, pattern = HEADLINE
    (sparse,), _ = StepBatch(trace, METHODS[method], pattern).evaluate([accelerator])
    (dense,), _ = StepBatch(trace, METHODS["dense"], DENSE).evaluate([accelerator])
    return float(dense / sparse)


def _value(accelerator: Accelerator, dotted: str) -> Any:
    value: Any = accelerator
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
