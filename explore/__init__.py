"""What to build: design spaces, sweeps over them, and what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nofm.explore.run import Exploration, explore_space

__all__ = ["Exploration", "explore_space"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nofm.explore' has no attribute {name!r}")
    from nofm.explore import run

    return getattr(run, name)
