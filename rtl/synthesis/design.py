"""A design before synthesis: its ports, and which module holds which, as Yosys reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nofm.kernels.errors import unknown
from nofm.rtl.tools import yosys

SOURCE = "design.v"
"""The file of `Design.folder` that holds the Verilog of all modules."""


@dataclass(frozen=True)
class Design:
    """Verilog modules below one top.

    Attributes:
        top: name of the top module.
        folder: where its Verilog, `SOURCE`, and whatever tools make of it stand.
        ports: (direction, width) of the top's ports by name; the direction is `input` or `output`.
        cells: module of each instance by its name, by the module that holds it.
    """

    top: str
    folder: Path
    ports: Mapping[str, tuple[str, int]]
    cells: Mapping[str, Mapping[str, str]]

    @property
    def instances(self) -> Counter[str]:
        """How often each module exists in the whole design."""
        total: Counter[str] = Counter()

        def visit(module: str, times: int) -> None:
            total[module] += times
            for below, places in Counter(self.cells[module].values()).items():
                visit(below, times * places)

        visit(self.top, 1)
        return total

    @property
    def repeated(self) -> list[str]:
        """Modules that stand in more than one place, each of which is worth one synthesis."""
        places = Counter(below for cells in self.cells.values() for below in cells.values())
        return sorted(module for module, count in places.items() if count > 1)

    def locate(self, name: str) -> tuple[str, str]:
        """Instance path and module of what is called `name` in the flattened design.

        Names join instances by dots; the part that is no instance is left out. The top's own path
        is empty.
        """
        module, path = self.top, []
        for part in name.split("."):
            below = self.cells[module].get(part)
            if below is None:
                break
            path.append(part)
            module = below
        return ".".join(path), module


def read(sources: Mapping[str, str], top: str, folder: Path) -> Design:
    """Read modules, Verilog by name, and find what lies below `top`.

    Raises:
        InputError: `top` is not one of them, Yosys is not installed, or it cannot read them.
    """
    if top not in sources:
        raise unknown("module", top, sources)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE).write_text("\n".join(sources.values()), "utf-8")
    script = [
        f"read_verilog {SOURCE}",
        f"hierarchy -check -top {top}",
        # Ports and instances are all that is asked for.
        "delete */p:*",
        "delete */t:$*",
        "write_json design.json",
    ]
    yosys.run("\n".join(script) + "\n", folder, "read")
    modules = json.loads((folder / "design.json").read_text("utf-8"))["modules"]
    return Design(
        top=top,
        folder=folder,
        ports={
            name: (port["direction"], len(port["bits"]))
            for name, port in modules[top]["ports"].items()
        },
        cells={
            module: {
                name: cell["type"]
                for name, cell in found["cells"].items()
                if cell["type"] in modules
            }
            for module, found in modules.items()
        },
    )
