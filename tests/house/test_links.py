"""`src/nofm` holds one relative link to each top-level folder of code, and they lead there."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRONT_DOOR = ROOT / "src/nofm"
FOLDERS = sorted(path.name for path in FRONT_DOOR.iterdir() if path.is_symlink())
# What a folder at the top may be besides code.
NOT_CODE = {"benchmarks", "build", "changelog.d", "demo", "dist", "docs", "notebooks", "src"} | {
    "tests",
    "tools",
}


def test_every_folder_of_code_has_its_link() -> None:
    folders = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_")) and any(path.glob("*.py"))
    }
    assert sorted(folders - NOT_CODE) == FOLDERS


@pytest.mark.parametrize("name", FOLDERS)
def test_link_is_relative_and_leads_to_the_folder(name: str) -> None:
    link = FRONT_DOOR / name
    assert os.readlink(link) == f"../../{name}"
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", FOLDERS)
def test_import_name_goes_through_the_link(name: str) -> None:
    spec = find_spec(f"nofm.{name}")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    assert [Path(place) for place in spec.submodule_search_locations] == [FRONT_DOOR / name]


def test_git_holds_links() -> None:
    command = ["git", "ls-files", "--stage", "src/nofm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert sorted(Path(path).name for mode, _, _, path in lines if mode == "120000") == FOLDERS


def test_no_generic_name_is_installed() -> None:
    """`kernels` is also a package of others: only `nofm` may be importable from here."""
    for name in FOLDERS:
        spec = find_spec(name)
        places = [] if spec is None else list(spec.submodule_search_locations or [])
        assert str(ROOT / name) not in places


def test_setup_and_the_import_contract_know_every_folder() -> None:
    setup = (ROOT / "tools/setup.sh").read_text(encoding="utf-8")
    (listed,) = re.findall(r'^folders="(.*)"$', setup, re.MULTILINE)
    assert sorted(listed.split()) == FOLDERS

    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert set(FOLDERS) <= set(re.findall(r"\w+", " ".join(layers)))
