"""Read a whole file that a user named, up to a size."""

from __future__ import annotations

from pathlib import Path

from nofm.kernels.errors import InputError


def read_bytes(path: Path, what: str, at_most: int) -> bytes:
    """The bytes of a file; one that is too large is not read whole.

    Args:
        what: the kind of file, with its article, for the error.
        at_most: bytes.

    Raises:
        InputError: the file cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(at_most + 1)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    if len(data) > at_most:
        raise InputError(f"{path.name}: {what} may have {at_most} bytes at most, not more")
    return data
