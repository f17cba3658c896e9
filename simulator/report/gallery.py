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
    "speedup": "Products of the sparse stages, layer by layer, over the same products trained "
    "dense. Layers at 1 stay dense.",
    "roofline": "What bounds each product: the array (flat) or DRAM (slope). Areas are cycles; "
    "half markers make one where FF and BP meet.",
    "cycles": "Cycles of each stage by what the engines do in them. Compute includes USPEs that a "
    "ragged tile leaves idle.",
    "ablation": "Speedup of the whole step with one dataflow optimisation taken away at a time.",
}
"""Every figure by name, and how to read it."""


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
