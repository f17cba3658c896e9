"""N:M training methods: which operand of which stage is sparse, what its masks cost, how it trains.

One table, `METHODS`. Groups always lie along the reduction dimension of the product that they make
sparse; only there can hardware skip the rest. A method whose masks lie along another axis in some
stage leaves that stage dense here.
"""

from __future__ import annotations

from nofm.kernels.errors import unknown
from nofm.workloads.methods.asp import Asp
from nofm.workloads.methods.bdwp import Bdwp
from nofm.workloads.methods.bimask import BiMask
from nofm.workloads.methods.cast import Cast
from nofm.workloads.methods.dense import Dense
from nofm.workloads.methods.fst import Fst
from nofm.workloads.methods.owl import Owl
from nofm.workloads.methods.pgf import Pgf
from nofm.workloads.methods.record import Method
from nofm.workloads.methods.sdgp import Sdgp
from nofm.workloads.methods.sdwp import Sdwp
from nofm.workloads.methods.srste import SrSte
from nofm.workloads.methods.sste import SSte
from nofm.workloads.methods.transposable import Transposable

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Dense(),
        SrSte(),
        Sdgp(),
        Sdwp(),
        Bdwp(),
        Transposable(),
        BiMask(),
        Pgf(),
        Fst(),
        SSte(),
        Cast(),
        Asp(),
        Owl(),
    )
}
"""Every method by name."""


def method(name: str | Method) -> Method:
    """A method by name.

    Raises:
        InputError: no such method.
    """
    if isinstance(name, Method):
        return name
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


__all__ = ["METHODS", "Method", "method"]
