"""N:M training methods: which operand of which stage is sparse, and what its masks cost.

One table, `METHODS`. Groups always lie along the reduction dimension of the product that they
make sparse; only there can hardware skip the rest. A method whose masks lie along another axis in
some stage leaves that stage dense here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nofm.kernels.errors import unknown

Operand = Literal["weight", "gradient"]
"""The sparse operand: the layer's weight, or the gradient of its output."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One training method.

    Attributes:
        name: as on the command line.
        title, reference: for people.
        ff, bp, wu: the operand that is N:M along the reduction dimension of that stage's product,
            or None when the product is dense.
        axes: the same in words.
        refresh_steps: masks of weights are chosen anew every so many steps.
        stored_mask: whether masks live in memory between refreshes (one bit a weight).
        note: what the simulation leaves out.
    """

    name: str
    title: str
    reference: str
    ff: Operand | None = None
    bp: Operand | None = None
    wu: Operand | None = None
    axes: str = "none"
    refresh_steps: int = 1
    stored_mask: bool = False
    note: str = ""

    def operand(self, stage: str) -> Operand | None:
        """The sparse operand of a stage ("ff", "bp" or "wu")."""
        return {"ff": self.ff, "bp": self.bp, "wu": self.wu}[stage]


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(name="dense", title="Dense", reference="nothing is pruned"),
        Method(
            name="srste",
            title="SR-STE",
            reference="Zhou et al., ICLR 2021",
            ff="weight",
            axes="weights along Ci in FF",
            note="its backward pass uses the same masked weights, whose groups do not lie along "
            "the reduction of BP: that product stays dense",
        ),
        Method(
            name="sdgp",
            title="SDGP",
            reference="McDanel et al., 2022",
            bp="gradient",
            axes="output gradients along Co in BP",
            note="gradients are pruned in every step, so nothing can be generated ahead; the "
            "rescaling of the kept values is not counted",
        ),
        Method(
            name="sdwp",
            title="SDWP",
            reference="Fang et al., TCAD 2023",
            bp="weight",
            axes="weights along Co in BP",
        ),
        Method(
            name="bdwp",
            title="BDWP",
            reference="Fang et al., TCAD 2023",
            ff="weight",
            bp="weight",
            axes="weights along Ci in FF and, independently, along Co in BP",
        ),
        Method(
            name="transposable",
            title="Transposable masks",
            reference="Hubara et al., NeurIPS 2021",
            ff="weight",
            bp="weight",
            axes="one mask of the weights, N:M along Ci and along Co",
            refresh_steps=40,
            stored_mask=True,
            note="finding the mask (a flow problem) is done off the accelerator",
        ),
        Method(
            name="bimask",
            title="Bi-Mask",
            reference="Zhang et al., ICML 2023",
            ff="weight",
            bp="weight",
            axes="weights along Ci in FF; along a permuted Co in BP",
            refresh_steps=100,
            stored_mask=True,
            note="the search over 100 row permutations is done off the accelerator; fetching rows "
            "in permuted order is taken to cost nothing",
        ),
        Method(
            name="fst",
            title="FST",
            reference="Hu et al., ICML 2024",
            ff="weight",
            bp="weight",
            wu="gradient",
            axes="transposable masks of the weights in FF and BP; output gradients along T in WU",
            refresh_steps=40,
            stored_mask=True,
            note="the dense last part of the training is not in one step; drawing the "
            "minimum-variance unbiased estimate is counted like pruning",
        ),
    )
}
"""Every method by name."""


def method(name: str | Method) -> Method:
    """A method by name.

    Raises:
        InputError: no such method.
    """
    if isinstance(name, Method):
        return name
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
