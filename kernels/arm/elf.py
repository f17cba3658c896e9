"""What is read of a compiled file: its segments, as they lie in memory, and its functions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

LOAD, WRITABLE, EXECUTABLE = 1, 2, 1
SYMBOLS, RELOCATIONS, FUNCTION = 2, (4, 9), 2


@dataclass(frozen=True)
class Segment:
    """Bytes at an address; `code` where they are run."""

    address: int
    data: bytes
    code: bool


@dataclass(frozen=True)
class Image:
    """A library that needs nothing to be filled in when it is loaded.

    Attributes:
        segments: what is only read or run.
        functions: address and bytes of each function by its name.
    """

    segments: tuple[Segment, ...]
    functions: dict[str, tuple[int, int]]

    def function_at(self, address: int) -> str:
        """The function that an address lies in, or ''."""
        for name, (start, size) in self.functions.items():
            if start <= address < start + size:
                return name
        return ""


def read(path: Path) -> Image:
    """The image of a 64-bit little-endian ELF library.

    Raises:
        ValueError: it is none, or it has places to be filled in.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no 64-bit little-endian ELF file")
    programs, sections = struct.unpack_from("<QQ", data, 32)
    _, p_size, p_count, s_size, s_count, _ = struct.unpack_from("<6H", data, 52)
    segments = []
    for i in range(p_count):
        kind, flags, offset, address, _, size = struct.unpack_from(
            "<IIQQQQ", data, programs + i * p_size
        )
        # Writable ones hold what a loader fills in, which is nothing here.
        if kind == LOAD and not flags & WRITABLE:
            code = bool(flags & EXECUTABLE)
            segments.append(Segment(address, data[offset : offset + size], code))
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", data, sections + i * s_size) for i in range(s_count)
    ]
    functions = {}
    for _, kind, _, _, offset, size, link, _, _, entry in headers:
        if kind in RELOCATIONS and size:
            raise ValueError(f"{path} has places that a loader must fill in")
        if kind == SYMBOLS:
            names = headers[link][4]
            for at in range(offset, offset + size, entry):
                name, info, _, _, value, length = struct.unpack_from("<IBBHQQ", data, at)
                if info & 15 == FUNCTION and value:
                    end = data.index(b"\0", names + name)
                    functions[data[names + name : end].decode()] = (value, length)
    return Image(tuple(segments), functions)
