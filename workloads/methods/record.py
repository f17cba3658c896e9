"""What a training method is: its record for the simulator, and its hooks into a layer's training.

A method is one frozen object. Its class attributes-with-defaults are the record; the fields that
its own class adds are its settings, with the paper's names and defaults; its methods say what
enters the three products of a layer. They compute with the tensors that they are given and with
what the `Site` offers, so that this package never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from nofm.kernels.errors import InputError, positive, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.kernels.pattern import Pattern
    from nofm.workloads.sparse.site import Site

Operand = Literal["weight", "gradient"]
"""The sparse operand: the layer's weight, or the gradient of its output."""

Stage = Literal["ff", "bp", "wu"]
"""Forward, backward, weight update."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One training method.

    Attributes:
        name: as on the command line.
        title, reference: for people.
        ff, bp, wu: the operand that is N:M along the reduction dimension of that stage's product,
            or None when the product is dense.
        axes: the same in words.
        deployed: whether the trained network's weights are N:M along the reduction of FF.
        refresh_steps: masks of weights are chosen anew every so many steps.
        stored_mask: whether pruning reads masks that live in memory between refreshes (one bit a
            weight).
        pretrained: whether it starts from a model that was trained dense.
        dense_share: the last share of the training, which is dense.
        note: what the simulation leaves out.
    """

    name: str
    title: str
    reference: str
    ff: Operand | None = None
    bp: Operand | None = None
    wu: Operand | None = None
    axes: str = "none"
    deployed: bool = False
    refresh_steps: int = 1
    stored_mask: bool = False
    pretrained: bool = False
    dense_share: float = 0.0
    note: str = ""

    chooses: ClassVar[bool] = False
    """Whether layers have buffers: the number of training steps begun, as `step`, and others."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What settings that are words may be."""

    def operand(self, stage: str) -> Operand | None:
        """The sparse operand of a stage ("ff", "bp" or "wu")."""
        return {"ff": self.ff, "bp": self.bp, "wu": self.wu}[stage]

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Names of the settings, and their defaults."""
        record = {field.name for field in fields(Method)}
        if cls.chooses:
            record.remove("refresh_steps")
        return {field.name: field.default for field in fields(cls) if field.name not in record}

    def with_settings(self, **values: Any) -> Self:
        """The same method with other settings.

        Raises:
            InputError: it has no such setting, or the value is not of the setting's kind.
        """
        known = self.settings()
        for name, value in values.items():
            if name not in known:
                if not known:
                    raise InputError(f"method {self.name!r} has no settings, not {name!r}")
                raise unknown(f"setting of method {self.name!r}", name, known)
            _check_kind(self.name, name, value, known[name], self.choices.get(name, ()))
        return replace(self, **values)

    def for_steps(self, steps: int) -> Self:
        """The method for a training of so many steps, where its schedule should follow that."""
        return self

    def settled(self, pattern: Pattern) -> int:
        """The first step of training in which the products are as the record says."""
        return 0

    def initial(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        """The method's buffers in a layer when its training begins; none without `chooses`."""
        return {}

    def scale_block(self, ci: int, pattern: Pattern) -> int | None:
        """How many input channels of a weight share a learned scale, of `ci` in a row; None where
        weights are not scaled."""
        return None

    def choose(self, weight: Tensor, site: Site, state: Mapping[str, Tensor], step: int) -> None:
        """Choose anew, in place, what the buffers hold; called every `refresh_steps` steps."""

    def refresh(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> None:
        """Begin a step of training: a forward pass in training mode."""
        step = int(state["step"])
        if step % self.refresh_steps == 0:
            self.choose(weight, site, state, step)
        state["step"].fill_(step + 1)

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        """What stands for the weight in FF, in its shape. No hook tracks gradients.

        Args:
            state: the method's buffers in the layer.
        """
        return weight

    def backward_weight(
        self, weight: Tensor, used: Tensor, site: Site, state: Mapping[str, Tensor]
    ) -> Tensor:
        """What stands for the weight in BP; `used` is what stood for it in FF."""
        return used

    def backward_order(self, state: Mapping[str, Tensor]) -> Tensor | None:
        """int64 [groups, Co / groups]: the order of the output channels in which groups of BP's
        weight lie, or None for their own."""
        return None

    def deployed_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        """What stands for the weight when the model does not train."""
        return self.forward_weight(weight, site, state)

    def gradients(self, gradient: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """What stands for the gradient of the output in BP and in WU, in its shape."""
        return gradient, gradient

    def penalty(self, weight: Tensor, used: Tensor) -> Tensor | None:
        """What is added to the weight's gradient after the product of WU, if anything.

        Args:
            weight, used: the weight, and what stands for it in FF.
        """
        return None


def _check_kind(
    method: str, name: str, value: object, default: object, choices: tuple[str, ...]
) -> None:
    if choices:
        if value not in choices:
            raise unknown(f"{name} of method {method!r}", value, choices)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(f"method {method!r}: {name} must be True or False, not {value!r}")
    elif isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
            raise InputError(
                f"method {method!r}: {name} must be a number from 0 to 1000000, not {value!r}"
            )
    elif value is not None or default is not None:
        positive(f"method {method!r}: {name}", value)
