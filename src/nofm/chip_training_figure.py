"""Figure: the loss of a training run on the chip's RTL, beside the golden model's and torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nofm.chip_training import TrainingVerdict
from nofm.simulator.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_figure(verdict: TrainingVerdict) -> Figure:
    """Loss by step: of the RTL, which the golden model's must lie under, and of torch in FP32."""
    example = verdict.example
    numbers = [step.number for step in verdict.steps]
    with figures.styled():
        figure = figures.canvas(figures.COLUMN_INCHES, 2.3)
        axes = figure.add_subplot()
        axes.plot(
            numbers,
            [step.torch_loss for step in verdict.steps],
            color=figures.STAGE_COLOURS["bp"],
            marker="s",
            markersize=6,
            clip_on=False,
            markerfacecolor="none",
            label="torch, FP32",
        )
        axes.plot(
            numbers,
            [step.loss for step in verdict.steps],
            color=figures.STAGE_COLOURS["ff"],
            marker="o",
            markersize=3,
            clip_on=False,
            linestyle="--",
            label="RTL, FP16 with FP32 sums",
        )
        axes.set_xlabel("training step")
        axes.set_ylabel("cross entropy")
        highest = max(max(step.loss, step.torch_loss) for step in verdict.steps)
        axes.set_ylim(0, 1.1 * highest)
        axes.set_xticks(numbers if len(numbers) <= 12 else numbers[:: len(numbers) // 10])
        axes.grid(axis="y")
        axes.legend(loc="upper right")
        how = example.method if example.method == "dense" else f"{example.method} {example.pattern}"
        exact = sum(step.bit_exact for step in verdict.steps)
        figure.suptitle(f"{example.network}, {how}, on the chip", fontsize=8, fontweight="bold")
        axes.set_title(
            f"memory equals the golden model's after {exact} of {len(numbers)} steps",
            fontsize=6.5,
            color="#444444",
        )
    return figure
