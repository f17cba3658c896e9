"""The figures that a simulated step has something to show in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nofm.simulator.report import summary
from nofm.simulator.report.ablation import ablation_figure
from nofm.simulator.report.cycles import cycles_figure
from nofm.simulator.report.roofline import roofline_figure
from nofm.simulator.report.speedup import sparse_stages, speedup_figure
from nofm.simulator.result import StepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS: dict[str, str] = {
    "speedup": "Speedup of each layer over dense training",
    "roofline": "Roofline: what bounds each product",
    "cycles": "Where the cycles go",
    "ablation": "What each dataflow optimisation is worth",
}
"""Every figure by name."""


def step_figures(
    result: StepResult, ablation: Sequence[tuple[str, StepResult | Mapping[str, Any]]] = ()
) -> dict[str, Figure]:
    """The figures that a step has something to show in, by the names in `CAPTIONS`.

    A dense step has no speedup, and a step without matrix products no roofline.
    """
    figures = {}
    products = summary.is_product(result.layers)
    if sparse_stages(result):
        figures["speedup"] = speedup_figure(result)
    if products.any():
        figures["roofline"] = roofline_figure(result)
    figures["cycles"] = cycles_figure(result)
    if ablation:
        figures["ablation"] = ablation_figure(ablation)
    return figures
