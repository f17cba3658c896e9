"""The ARM kernel compiled: with this machine's compiler where that is ARM, else across.

The compiled file is kept in a cache, named after the source and all that made it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from nofm.kernels.errors import InputError

SOURCE = Path(__file__).with_name("spmm.c")
DEBIAN = "gcc-aarch64-linux-gnu"

FLAGS = [
    "-O3",
    "-g0",
    "-std=gnu11",
    "-ffreestanding",
    # No call of memset or memcpy in place of a loop: there is no library.
    "-fno-builtin",
    "-ffp-contract=off",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-command-line-argument",
]
GCC_FLAGS = [
    "-march=armv8-a",
    "-mtune=cortex-a76",
    "-fno-tree-loop-distribute-patterns",
    # Moving loads ahead of multiply-adds costs registers, and then sums are spilled.
    "-fno-schedule-insns",
]
LINKED = ["-shared", "-nostdlib", "-Wl,-z,defs", "-Wl,--build-id=none"]


def native() -> bool:
    """Whether this machine runs what is compiled: Linux on AArch64."""
    return sys.platform == "linux" and platform.machine() == "aarch64"


def compiler() -> list[str]:
    """The command of a C compiler for AArch64, with the flags that are its own.

    Raises:
        InputError: there is none.
    """
    if native():
        for name in ("gcc", "cc", "clang"):
            if found := shutil.which(name):
                return [found, *(GCC_FLAGS if name == "gcc" else [])]
        raise InputError("the ARM kernel needs a C compiler: apt-get install gcc")
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"]
    if found := shutil.which("aarch64-linux-gnu-gcc"):
        return [found, *GCC_FLAGS]
    raise InputError(
        f"the ARM kernel needs a C compiler for AArch64: apt-get install {DEBIAN}, "
        f"or pip install ziglang"
    )


def library(source: Path = SOURCE) -> Path:
    """The shared library of the kernel, compiled where the cache has none.

    Raises:
        InputError: there is no compiler, or it fails.
    """
    return _made(source, LINKED, ".so")


def assembly(source: Path = SOURCE) -> str:
    """What the compiler makes of the kernel, as assembly text.

    Raises:
        InputError: there is no compiler, or it fails.
    """
    return _made(source, ["-S"], ".s").read_text(encoding="utf-8")


def version() -> str:
    """The compiler, in words.

    Raises:
        InputError: there is none.
    """
    return _version(compiler()).splitlines()[0]


def _version(command: list[str]) -> str:
    # Of a module that Python runs, the words before the flags are more than one.
    own = 4 if command[1:3] == ["-m", "ziglang"] else 1
    return _run([*command[:own], "--version"])


def _made(source: Path, kind: list[str], ending: str) -> Path:
    command = [*compiler(), *FLAGS, *kind]
    text = source.read_bytes()
    key = hashlib.sha256(
        "\0".join([_version(command), *command]).encode() + b"\0" + text
    ).hexdigest()
    path = cache_folder() / f"{source.stem}-{key[:20]}{ending}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            _run([*command, str(source), "-o", str(temporary)])
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _run(command: list[str]) -> str:
    try:
        plain = os.environ | {"LC_ALL": "C"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    except OSError as error:
        raise InputError(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        name = "ziglang" if "ziglang" in command else command[0]
        raise InputError(f"{name} could not compile the ARM kernel: {said.strip()}")
    return done.stdout


def cache_folder() -> Path:
    """Where compiled files are kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nofm" / "arm"
