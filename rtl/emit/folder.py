"""The folder of emitted engines: every file of it, and where it may be written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError
from nofm.kernels.folder import check_folder, write_folder
from nofm.rtl.bench.cases import Case, write_cases
from nofm.rtl.emit.core import core
from nofm.rtl.emit.design import Design, Progress
from nofm.rtl.emit.host import host_files
from nofm.rtl.emit.ip import ip_script
from nofm.rtl.emit.lint import CONTROL_FILE, control_file
from nofm.rtl.emit.manifest import SCHEMA, manifest
from nofm.rtl.emit.readme import readme
from nofm.rtl.emit.vivado import constraints, script
from nofm.workloads.bounded_file import read_bytes

MANIFEST = "manifest.json"
MANIFEST_BYTES = 1 << 26
CACHE = "__pycache__"
"""Python leaves such folders beside files that it has run."""


def emit(
    accelerator: Accelerator,
    folder: str | os.PathLike[str],
    engines: Sequence[str] = (),
    cases: Callable[[str], Sequence[Case]] = lambda engine: (),
    progress: Progress = lambda what, done, of: None,
) -> dict[str, Any]:
    """Write engines of an accelerator as Verilog, with what other tools need to use them.

    The same accelerator and engines give the same bytes. The folder appears whole or not at all;
    one that an earlier run wrote is replaced.

    Args:
        accelerator: what to build.
        folder: where to.
        engines: some of `ENGINES`; all of the usual ones that can be built, if none are named.
        cases: some for the engine of this name, which go into a case file; none, no file.
        progress: told of every module.

    Returns:
        The manifest (docs/rtl.md).

    Raises:
        InputError: an engine is unknown or cannot be built, Amaranth is not installed, or the
            folder holds what no run wrote, or cannot be written.
    """
    folder = Path(folder)
    former_entries(folder)
    design = Design.of(accelerator, engines, progress)
    document, contents = files(design, cases)
    write_folder(folder, contents, former_entries(folder))
    return document


def files(
    design: Design, cases: Callable[[str], Sequence[Case]]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest of a design, and the contents of all its files by path."""
    paths = {name: f"verilog/{name}.v" for name in design.modules}
    document = manifest(design, paths)
    bench = {}
    if any(built.host is None for built in design.engines.values()):
        bench = {f"bench/{name}": text for name, text in _python_files("nofm.rtl.bench").items()}
    contents = {path: design.verilog(name) for name, path in paths.items()}
    for engine in document["engines"]:
        contents[f"{engine['engine']}.f"] = "".join(f"{path}\n" for path in engine["files"])
        contents |= _for_vivado(design, engine)
    for name, built in design.engines.items():
        if built.host:
            contents |= host_files(name, built.host)
    case_files: dict[str, bytes] = {}
    for engine in document["engines"]:
        if found := cases(engine["engine"]):
            path = f"cases/{engine['engine']}.npz"
            case_files[path] = _case_file(found, list(engine["counters"]))
            # For simulators that are started by another tool: there the bench itself must fail.
            contents[f"cases/{engine['engine']}.json"] = (
                json.dumps({"cases": path, "strict": True}) + "\n"
            )
    copied = sorted([*bench, *case_files, *(path for path in contents if path.endswith(".json"))])
    contents["nofm.core"] = core(design, list(paths.values()), copied)
    contents[CONTROL_FILE] = control_file()
    contents["hardware.toml"] = design.accelerator.to_toml()
    if bench:
        contents |= bench
        contents["run.py"] = _python_files("nofm.rtl.emit")["run.py"]
    contents["README.md"] = readme(design, document)
    document["files"] = sorted([*contents, *case_files, MANIFEST])
    contents[MANIFEST] = json.dumps(document, indent=2) + "\n"
    encoded = {path: text.encode("utf-8") for path, text in contents.items()}
    return document, encoded | case_files


def _for_vivado(design: Design, engine: Mapping[str, Any]) -> dict[str, str]:
    """The scripts of an engine and, for a chip, its constraints."""
    name, top, sources = engine["engine"], engine["top"], engine["files"]
    clock_mhz, host = design.accelerator.clock_mhz, design.engines[name].host
    if host is None:
        return {f"{name}.tcl": script(name, top, sources, clock_mhz)}
    return {
        f"{name}.tcl": script(name, top, sources, clock_mhz, f"{name}.xdc"),
        f"{name}.xdc": constraints(name, clock_mhz),
        f"{name}_ip.tcl": ip_script(
            name,
            top,
            sources,
            version=version("nofm"),
            title="N:M sparse training accelerator",
            register_bytes=1 << host.registers.address_bits,
        ),
    }


def _case_file(cases: Sequence[Case], counters: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="nofm-") as folder:
        path = Path(folder) / "cases.npz"
        write_cases(path, cases, counters)
        return path.read_bytes()


def _python_files(package: str) -> dict[str, str]:
    found = [each for each in resources.files(package).iterdir() if each.name.endswith(".py")]
    return {each.name: each.read_text("utf-8") for each in sorted(found, key=lambda f: f.name)}


def former_entries(folder: Path) -> list[str]:
    """What an earlier run left in a folder: names directly below it.

    Raises:
        InputError: the folder holds something that no run wrote.
    """
    check_folder(folder)
    listed = _listed(folder / MANIFEST)
    parents = {str(above) for path in listed for above in Path(path).parents}
    for above, folders, names in os.walk(folder):
        inside = Path(above).relative_to(folder)
        folders[:] = sorted(name for name in folders if name != CACHE)
        for name in sorted([*names, *folders]):
            path = str(inside / name)
            # A link to a folder is not followed, and was written by no run.
            wrote = parents if name in folders and not (folder / path).is_symlink() else listed
            if path not in wrote:
                raise InputError(
                    f"cannot write to {folder}: it must be new, empty or of an earlier run, and "
                    f"holds {path}"
                )
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def _listed(path: Path) -> set[str]:
    """Files that a manifest lists; none where it is no manifest."""
    if not path.is_file():
        return set()
    try:
        document = json.loads(read_bytes(path, "a manifest", MANIFEST_BYTES))
        if document["schema"] == SCHEMA:
            return {name for name in document["files"] if isinstance(name, str)}
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # some other file of that name
    return set()
