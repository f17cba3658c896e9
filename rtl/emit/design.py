"""A design: the Verilog modules of some engines, each once, and which engine needs which."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.engines import Built, build, build_all
from nofm.rtl.hierarchy import Emitted, Unit, emitted

Progress = Callable[[str, int, int], None]
"""Told what is done now, how many things are done, and how many there are as far as is known."""


@dataclass(frozen=True)
class Design:
    """Engines of one accelerator as Verilog.

    Attributes:
        accelerator: the accelerator.
        engines: its engines by name.
        left_out: why engines that nobody asked for by name are not among them, by name.
        modules: every module that one of them needs, by name; a top stands before what it holds.
    """

    accelerator: Accelerator
    engines: Mapping[str, Built]
    left_out: Mapping[str, str]
    modules: Mapping[str, Emitted]

    @classmethod
    def of(
        cls,
        accelerator: Accelerator,
        names: Sequence[str],
        progress: Progress = lambda what, done, of: None,
    ) -> Design:
        """Build and write the engines of `names`, or all that can be built where it is empty.

        Raises:
            InputError: an engine cannot be built.
        """
        engines, left_out = (build(accelerator, names), {}) if names else build_all(accelerator)
        tops = [built.top for built in engines.values()]
        known = dict.fromkeys(top.module_name for top in tops)
        modules: dict[str, Emitted] = {}

        def tell() -> None:
            following = next((name for name in known if name not in modules), "")
            progress(following, len(modules), len(known))

        tell()
        for each in emitted(*tops):
            modules[each.unit.module_name] = each
            known.update(dict.fromkeys(each.places))
            tell()
        return cls(accelerator, engines, left_out, modules)

    def below(self, engine: str) -> list[str]:
        """Names of the modules that an engine needs, its top first."""
        found = {self.engines[engine].top.module_name: None}
        waiting = list(found)
        while waiting:
            places = self.modules[waiting.pop(0)].places
            waiting += [name for name in places if name not in found]
            found.update(dict.fromkeys(places))
        return list(found)

    def verilog(self, module: str) -> str:
        """The text of a module's file: what it is, where it comes from, and the module."""
        each = self.modules[module]
        # As JSON, a name that holds a line break does not end the comment.
        source = f"hardware {json.dumps(self.accelerator.name)}, NofM {version('nofm')}"
        lines = [f"{module}, {source}", "", *documentation(each.unit).splitlines()]
        header = "".join(f"// {line}".rstrip() + "\n" for line in lines)
        return f"{header}\n{each.verilog.strip()}\n"


def documentation(unit: Unit) -> str:
    """What the unit's class says of itself."""
    return inspect.cleandoc(type(unit).__doc__ or "")


def summary(unit: Unit) -> str:
    """The first sentence or two of `documentation`, on one line."""
    return " ".join(documentation(unit).split("\n\n")[0].split())
