"""PGF: progressive gradient flow, from dense to N:M by and by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from nofm.kernels.pattern import Pattern
from nofm.workloads.methods.record import Method, Operand

if TYPE_CHECKING:
    from torch import Tensor

    from nofm.workloads.sparse.site import Site


@dataclass(frozen=True, kw_only=True)
class Pgf(Method):
    """Weights along Ci fade out instead of being dropped at once.

    Bambhaniya et al., *Progressive Gradient Flow for Robust N:M Sparsity Training in Transformers*,
    2024. In step t, what N:M would drop is multiplied by beta = max(0, 1 - ct) ("linear") or
    exp(-ct) ("exponential"); or ("staged") the pattern is (M-1):M, then M/2:M, M/4:M and so on down
    to N:M, each for the same number of steps. Gradients go straight through.

    Attributes:
        schedule: "linear", "exponential" or "staged".
        coefficient: c, for each step.
        stage_steps: steps of each of the staged patterns but the last.
        binary_after: the step from which on the mask is binary (the paper's fine-tuning); None
            leaves that to the schedule, and an exponential never ends.
    """

    name: str = "pgf"
    title: str = "PGF"
    reference: str = "Bambhaniya et al., 2024"
    ff: Operand | None = "weight"
    axes: str = "weights along Ci in FF, once they have faded out"
    deployed: bool = True
    note: str = "until the weights have faded out, FF is dense"
    schedule: str = "linear"
    coefficient: float = 2e-4
    stage_steps: int = 1000
    binary_after: int | None = None

    chooses: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "schedule": ("linear", "exponential", "staged")
    }

    def for_steps(self, steps: int) -> Self:
        """Settings that are as they come are of the paper's long trainings: a shorter one fades
        out, or goes through its stages, in its first half, and is binary in its last quarter."""
        if self != type(self)(schedule=self.schedule):
            return self
        return replace(
            self,
            coefficient=max(self.coefficient, 2 / steps),
            stage_steps=max(1, min(self.stage_steps, steps // 8)),
            binary_after=max(1, 3 * steps // 4),
        )

    def settled(self, pattern: Pattern) -> int:
        ends = [] if self.binary_after is None else [self.binary_after]
        if self.schedule == "staged":
            ends.append(self.stage_steps * (len(self.stages(pattern)) - 1))
        elif self.schedule == "linear" and self.coefficient:
            ends.append(math.ceil(1 / self.coefficient))
        return min(ends, default=2**31)

    def stages(self, pattern: Pattern) -> list[Pattern]:
        """The staged patterns, down to `pattern`.

        >>> Pgf().stages(Pattern(1, 16))[:2]
        [Pattern(n=15, m=16), Pattern(n=8, m=16)]
        """
        found, n = [pattern.m - 1], pattern.m // 2
        while n > pattern.n:
            found.append(n)
            n //= 2
        return [Pattern(n, pattern.m) for n in found if n > pattern.n] + [pattern]

    def beta(self, step: int) -> float:
        """What weights outside the mask are multiplied by in a step."""
        if self.schedule == "staged" or (
            self.binary_after is not None and step >= self.binary_after
        ):
            return 0.0
        if self.schedule == "linear":
            return max(0.0, 1.0 - self.coefficient * step)
        return math.exp(-self.coefficient * step)

    def forward_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        step = max(0, int(state["step"]) - 1)
        stages = self.stages(site.pattern)
        late = self.binary_after is not None and step >= self.binary_after
        if self.schedule == "staged" and not late:
            pattern = stages[min(step // self.stage_steps, len(stages) - 1)]
            return site.keep_weight(weight, "ff", pattern)
        kept = site.keep_weight(weight, "ff")
        beta = self.beta(step)
        if kept is weight or beta == 0:
            return kept
        return kept + beta * (weight - kept)

    def deployed_weight(self, weight: Tensor, site: Site, state: Mapping[str, Tensor]) -> Tensor:
        return site.keep_weight(weight, "ff")
