"""OWL: every layer its own N, by its share of outliers."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.workloads.methods.asp import Asp


@dataclass(frozen=True, kw_only=True)
class Owl(Asp):
    """As ASP, but layers with more outliers keep more of every M.

    Yin et al., *Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs
    to High Sparsity*, ICML 2024. An outlier is a weight whose |W| ||A|| (A: its input over a batch)
    is more than `outlier` times the layer's mean. The mean density of the layers is the pattern's,
    each differs from it by at most `spread`, and N is the nearest whole number of every M.

    Attributes:
        outlier: M of the paper.
        spread: lambda of the paper.
    """

    name: str = "owl"
    title: str = "OWL"
    reference: str = "Yin et al., ICML 2024"
    axes: str = "weights along Ci in FF, with a fixed mask and an N of each layer's own"
    outlier: float = 5.0
    spread: float = 0.08
