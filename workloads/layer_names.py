"""Unique names for layers, after the modules that run them."""

from __future__ import annotations

import re
from collections.abc import Collection


class LayerNames:
    """Gives each layer its module's path, with `.1`, `.2`, ... where that is taken.

    Args:
        modules: paths of all modules; none is given to another module's layer.
        leaves: paths of the modules that are one operation and no product, such as torch's
            normalisations.
    """

    def __init__(self, modules: Collection[str], leaves: Collection[str]) -> None:
        self._modules = modules
        self._leaves = leaves
        self._used: set[str] = set()

    def unique(self, wanted: str, module: str = "") -> str:
        """`wanted`, or the first of `wanted`.1, `wanted`.2, ... that is free."""
        candidate, count = wanted, 0
        while candidate in self._used or (candidate in self._modules and candidate != module):
            count += 1
            candidate = f"{wanted}.{count}"
        self._used.add(candidate)
        return candidate

    def product(self, module: str, kind: str) -> str:
        """A product's name; `kind` where the model itself runs it."""
        return self.unique(module or kind, module)

    def vector(self, module: str, op: str) -> str:
        """An operator's name: the module's where the module is that operation, else with `op`."""
        if module in self._leaves and module and module not in self._used:
            return self.unique(module, module)
        op = re.sub(r"^_?native_|^_|_backward(_data)?$", "", op)
        return self.unique(f"{module}.{op}" if module else op, module)
