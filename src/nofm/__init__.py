"""NofM: co-design of N:M sparse training accelerators.

>>> import nofm
>>> result = nofm.simulate("resnet18", batch=512, method="bdwp", pattern="2:8",
...                        hardware="sat-32x32")
>>> result.layers  # a pandas DataFrame, one row a job
>>> result.total["speedup"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

if TYPE_CHECKING:
    from nofm.api import simulate, sweep_hardware
    from nofm.dataflow.accelerator import Accelerator
    from nofm.simulator.result import StepResult
    from nofm.workloads.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "InputError",
    "Pattern",
    "StepResult",
    "Trace",
    "__version__",
    "simulate",
    "sweep_hardware",
]

# What is slow to import is imported when it is first asked for.
_HOMES = {
    "simulate": "nofm.api",
    "sweep_hardware": "nofm.api",
    "Accelerator": "nofm.dataflow.accelerator",
    "StepResult": "nofm.simulator.result",
    "Trace": "nofm.workloads.trace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nofm' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
