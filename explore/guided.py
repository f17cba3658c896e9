"""A guided search: what was found says where to look next. The samplers are Optuna's.

A round asks for designs, evaluates those that are new, and tells what they cost. With the same
seed the same rounds follow from the same figures: so a search that goes on asks again for what its
folder has already, without evaluating it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nofm.explore import results
from nofm.explore.front import Front
from nofm.explore.results import Tally
from nofm.explore.space import Space
from nofm.explore.store import Store
from nofm.explore.workers import Evaluator, Numbers, Part
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import optuna
    from optuna.distributions import BaseDistribution

    Progress = Callable[[int, int, int], None]

PIECE = 64
"""Designs of a round that one worker evaluates at a time."""

FEW = 1 << 22
"""Designs of a space that are all listed to find those that are new."""


def check_installed(kind: str) -> None:
    """Refuse a guided search where Optuna is missing.

    Raises:
        InputError: it is.
    """
    if find_spec("optuna") is None:
        raise InputError(
            f"a search by {kind} needs optuna, which is not installed: pip install 'nofm[explore]'"
        )


@dataclass
class _Known:
    """What is known of the designs that were evaluated, by number.

    Attributes:
        objectives: None of a design that failed.
        violations: of each constraint, above 0 where it does not hold.
    """

    objectives: dict[int, list[float] | None] = field(default_factory=dict)
    violations: dict[int, list[float]] = field(default_factory=dict)

    def add(self, space: Space, table: pa.Table) -> None:
        for row in table.to_pylist():
            number, values = row["design"], [row[o.name] for o in space.objectives]
            lost = bool(row["error"]) or None in values
            self.objectives[number] = None if lost else [float(value) for value in values]
            self.violations[number] = _violations(space, row)


def search(space: Space, kept: Store, evaluator: Evaluator, progress: Progress) -> Tally:
    """Evaluate as many designs as the search may, each once, and write the result.

    Raises:
        InputError: the folder holds rounds that this search would not have asked for.
    """
    front = Front([o.maximise for o in space.objectives])
    study, choices = _study(space), _choices(space)
    known = _Known()
    rounds: list[pa.Table] = []
    while (left := space.search.trials - len(known.objectives)) > 0:
        asked = [study.ask(choices) for _ in range(space.search.part)]
        designs = [_number(space, trial) for trial in asked]
        new = [n for n in dict.fromkeys(designs) if n not in known.objectives][:left]
        # In place of what is known already, something random: so nothing is left out for ever.
        for number in _others(space, known, new, min(left, space.search.part) - len(new)):
            study.enqueue_trial(_places(space, number))
            asked.append(study.ask(choices))
            designs.append(number)
            new.append(number)
        table = _round(space, kept, evaluator, len(rounds), np.array(new, np.int64))
        rounds.append(table)
        known.add(space, table)
        results.add_to_front(front, space, table)
        for trial, number in zip(asked, designs, strict=True):
            _tell(study, trial, number, known)
        progress(len(known.objectives), space.search.trials, len(front))
    whole = pa.concat_tables(rounds).sort_by("design")
    return results.write(kept, space, [whole], front)


def _study(space: Space) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = space.search
    sampler: optuna.samplers.BaseSampler
    if search.kind == "nsga2":
        # A round is a generation.
        sampler = optuna.samplers.NSGAIISampler(
            population_size=max(2, search.part), seed=search.seed
        )
    else:
        sampler = optuna.samplers.TPESampler(seed=search.seed)
    directions = optuna.study.StudyDirection
    return optuna.create_study(
        directions=[
            directions.MAXIMIZE if o.maximise else directions.MINIMIZE for o in space.objectives
        ],
        sampler=sampler,
    )


def _choices(space: Space) -> dict[str, BaseDistribution]:
    """Places of the values of what varies: numbers have an order, the rest are categories."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return {
        p.name: IntDistribution(0, len(p.values) - 1)
        if p.numeric
        else CategoricalDistribution(range(len(p.values)))
        for p in space.parameters
        if len(p.values) > 1
    }


def _number(space: Space, trial: optuna.Trial) -> int:
    places = [[trial.params.get(p.name, 0) for p in space.parameters]]
    return int(space.numbers(np.array(places, np.int64))[0])


def _places(space: Space, number: int) -> dict[str, Any]:
    (places,) = space.digits(np.array([number])).tolist()
    return {
        p.name: place
        for p, place in zip(space.parameters, places, strict=True)
        if len(p.values) > 1
    }


def _others(space: Space, known: _Known, new: list[int], wanted: int) -> list[int]:
    """Random designs that are neither known nor new."""
    if wanted <= 0:
        return []
    random = np.random.default_rng([space.search.seed, len(known.objectives)])
    taken = {*known.objectives, *new}
    if space.count <= FEW:
        free = np.setdiff1d(np.arange(space.count), np.array(list(taken), np.int64))
        found: list[int] = random.permutation(free)[:wanted].tolist()
        return found
    found = []
    while len(found) < wanted:  # most designs are free: trials are fewer than `FEW` by far
        number = int(random.integers(space.count))
        if number not in taken:
            taken.add(number)
            found.append(number)
    return found


def _round(
    space: Space, kept: Store, evaluator: Evaluator, number: int, designs: Numbers
) -> pa.Table:
    """The designs of a round, from the folder or evaluated now."""
    table = kept.part(number)
    if table is not None:
        if table["design"].to_numpy().tolist() != designs.tolist():
            raise InputError(
                f"{kept.folder} holds another search's designs in part {number}: it was begun "
                "with another version of optuna or numpy; give another folder"
            )
        return table

    def pieces() -> Iterator[Part]:
        for first in range(0, len(designs), PIECE):
            yield first, designs[first : first + PIECE]

    found = dict(evaluator(pieces()))
    table = pa.concat_tables([found[first] for first in sorted(found)]).combine_chunks()
    kept.commit(number, table)
    return table


def _tell(study: optuna.Study, trial: optuna.Trial, number: int, known: _Known) -> None:
    from optuna.trial import TrialState

    values = known.objectives.get(number)
    if values is None:  # it failed, or the search ends before it
        study.tell(trial, state=TrialState.FAIL)
        return
    for place, violation in enumerate(known.violations[number]):
        trial.set_constraint(str(place), violation)
    study.tell(trial, values)


def _violations(space: Space, row: dict[str, Any]) -> list[float]:
    found = []
    for constraint in space.constraints:
        value = row[constraint.name]
        if value is None:
            found.append(1.0)
            continue
        below = 0.0 if constraint.least is None else constraint.least - value
        above = 0.0 if constraint.most is None else value - constraint.most
        found.append(max(below, above, 0.0))
    if space.device:
        found.append(0.0 if row["feasible"] else 1.0)
    return found
