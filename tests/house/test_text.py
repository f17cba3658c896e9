"""No file names the place that packages come from, one person's machine, or unfinished work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Where packages come from is for the user's own pip and apt configuration to say. The names are
# put together here, so that this file does not hold them either.
HOSTS = [("pypi", "org"), ("pythonhosted", "org"), ("pytorch", "org/whl"), ("debian", "org")]
SWITCHES = [("index", "url"), ("find", "links"), ("trusted", "host")]
MARKS = [("TO", "DO"), ("FIX", "ME"), ("X", "XX"), ("HA", "CK")]
FORBIDDEN = re.compile(
    "|".join(
        [
            *(re.escape(".".join(parts)) for parts in HOSTS),
            *(re.escape("-".join(parts)) for parts in SWITCHES),
            *(rf"\b{''.join(parts)}\b" for parts in MARKS),
            # A home folder, or a checkout at the top of a disk.
            r"/(?:home|Users|root|work)/\w",
        ]
    )
)


def files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.splitlines()]
    # What is compressed is no text, and may hold any three letters.
    return [path for path in paths if path.is_file() and path.suffix != ".png"]


def test_no_file_says_what_is_not_its_business() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        for match in FORBIDDEN.finditer(path.read_bytes().decode("utf-8", errors="ignore"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [".".join(HOSTS[0]), "-".join(SWITCHES[0]), "".join(MARKS[0]), "/".join(["", "home", "x"])],
)
def test_the_pattern_finds(text: str) -> None:
    assert FORBIDDEN.search(text)
