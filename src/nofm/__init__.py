"""NofM: co-design of N:M sparse training accelerators.

>>> import nofm
>>> result = nofm.simulate("resnet18", batch=512, method="bdwp", pattern="2:8",
...                        hardware="sat-32x32")
>>> result.layers  # a pandas DataFrame, one row a job
>>> result.total["speedup"]
>>> nofm.explore_space("space.toml", "sweep/").front  # of a design space (docs/explore.md)
>>> nofm.sparsify(model, method="bdwp", pattern="2:8")  # any torch model; train it as usual
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

if TYPE_CHECKING:
    from nofm.api import simulate, sweep_hardware
    from nofm.dataflow.accelerator import Accelerator
    from nofm.explore.run import Exploration, explore_space
    from nofm.scaling import scale_out
    from nofm.simulator.result import StepResult
    from nofm.simulator.scaleout.interconnect import Interconnect
    from nofm.simulator.scaleout.scaling import ScaleOut
    from nofm.workloads.recording import record
    from nofm.workloads.sparse.adams import AdamS
    from nofm.workloads.sparse.convert import desparsify, sparsify
    from nofm.workloads.sparse.inspection import Inspection, inspect
    from nofm.workloads.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "AdamS",
    "Exploration",
    "InputError",
    "Inspection",
    "Interconnect",
    "Pattern",
    "ScaleOut",
    "StepResult",
    "Trace",
    "__version__",
    "desparsify",
    "explore_space",
    "inspect",
    "record",
    "scale_out",
    "simulate",
    "sparsify",
    "sweep_hardware",
]

# What is slow to import is imported when it is first asked for.
_HOMES = {
    "simulate": "nofm.api",
    "sweep_hardware": "nofm.api",
    "Accelerator": "nofm.dataflow.accelerator",
    "Interconnect": "nofm.simulator.scaleout.interconnect",
    "ScaleOut": "nofm.simulator.scaleout.scaling",
    "scale_out": "nofm.scaling",
    "Exploration": "nofm.explore.run",
    "explore_space": "nofm.explore.run",
    "StepResult": "nofm.simulator.result",
    "Trace": "nofm.workloads.trace",
    "AdamS": "nofm.workloads.sparse.adams",
    "Inspection": "nofm.workloads.sparse.inspection",
    "desparsify": "nofm.workloads.sparse.convert",
    "inspect": "nofm.workloads.sparse.inspection",
    "record": "nofm.workloads.recording",
    "sparsify": "nofm.workloads.sparse.convert",
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
