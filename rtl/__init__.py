"""What computes it: generators of the accelerator's engines as synthesizable RTL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nofm.rtl.driver import Driver

__all__ = ["Driver"]


def __getattr__(name: str) -> Any:
    # Whoever builds hardware needs no driver.
    if name == "Driver":
        from nofm.rtl.driver import Driver

        return Driver
    raise AttributeError(f"module 'nofm.rtl' has no attribute {name!r}")
