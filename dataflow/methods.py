"""N:M training methods as the simulator sees them: the records of `nofm.workloads.methods`.

What is simulated is what trains: there is one table.
"""

from __future__ import annotations

from nofm.workloads.methods import METHODS, Method, method
from nofm.workloads.methods.record import Operand

__all__ = ["METHODS", "Method", "Operand", "method"]
