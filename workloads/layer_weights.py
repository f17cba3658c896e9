"""Which operand of a product is a weight, and which parameter that is."""

from __future__ import annotations

from collections.abc import Mapping

from nofm.workloads.step_events import Event, Operand, Parameter


def weight_of(event: Event, *operands: Operand) -> Operand | None:
    """The operand that is the weight: the one that depends on no input.

    None where there is none, or where two parameters are multiplied.
    """
    fixed = [operand for operand in operands if not operand.origin.data]
    if len(fixed) < 2:
        return fixed[0] if fixed else None
    trained = [operand for operand in fixed if operand.origin.parameters]
    if len(trained) == 1:
        return trained[0]
    # A learned query through a linear layer, say: the weight is the module's own.
    own = [
        operand
        for operand in trained
        if operand.parameter and operand.parameter.rpartition(".")[0] == event.module
    ]
    return own[0] if len(own) == 1 else None


class Weights:
    """Names weights by their parameters, and keeps count of the parameters so named."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self._named: dict[str, dict[str, int]] = {}

    def name(self, weight: Operand) -> str:
        """A weight's name: its parameter's, with the elements where it is a part of that.

        A weight computed from parameters has the name of the only one of its size; "" where there
        is none.
        """
        if weight.parameter:
            part = ""
            if weight.elements != self._parameters[weight.parameter].elements:
                part = f"[{weight.offset}:{weight.offset + weight.elements}]"
            self._named.setdefault(weight.parameter, {})[part] = weight.elements
            return weight.parameter + part
        whole = [
            source
            for source in sorted(weight.origin.parameters)
            if self._parameters[source].elements == weight.elements
        ]
        if not whole:
            return ""
        self._named.setdefault(whole[0], {})[""] = weight.elements
        return whole[0]

    def unnamed(self) -> int:
        """Trainable parameters that are no weight."""
        total = 0
        for name, parameter in self._parameters.items():
            if parameter.trainable:
                parts = self._named.get(name, {})
                total += max(0, parameter.elements - parts.get("", sum(parts.values())))
        return total
