"""What is measured on a CUDA device, with the kernels interpreted; only the times need a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nofm.kernels import measure_cuda
from nofm.kernels.errors import InputError
from nofm.kernels.measure import Case, error, kernels, operands
from nofm.kernels.measure_cuda import SemiStructured, Triton
from nofm.kernels.pattern import Pattern


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize(("sharing", "dtype"), [(1, "float16"), (32, "float16"), (4, "float32")])
def test_results_stay_within_their_bound(layout: str, sharing: int, dtype: str) -> None:
    case = Case(
        m=18, length=40, n=37, pattern=Pattern(2, 8), sharing=sharing, dtype=dtype, layout=layout
    )
    given, kernel = operands(case, 1), Triton()
    run, bound, read = kernel.sparse(case, given, 1)
    found = kernel.fetch(case, run())
    worst, checked = error(case, given, found)
    assert checked == case.m
    assert 0 < worst <= bound
    slots = 5 * 2
    assert read == slots * (37 * np.dtype(dtype).itemsize + -(-37 // sharing))
    # The same with one wrong result is not within it.
    found[3, 4] += 0.1
    assert error(case, given, found)[0] > bound


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_dense_products(layout: str) -> None:
    case = Case(m=5, length=12, n=7, pattern=Pattern(2, 4), layout=layout)
    given, kernel = operands(case, 2), Triton()
    a = given.a if layout == "rows" else given.a.T
    for run in kernel.dense(case, given).values():
        found = kernel.fetch(case, run())
        expected = a @ given.dense
        assert np.allclose(
            found, expected if layout == "rows" else expected.T, rtol=1e-4, atol=1e-4
        )


def test_what_sparse_tensor_cores_take() -> None:
    kernel = SemiStructured("cutlass")
    fits = {"m": 64, "length": 128, "n": 64, "pattern": Pattern(2, 4), "dtype": "float16"}
    assert kernel.takes(Case(**fits))  # type: ignore[arg-type]
    for change in (
        {"m": 63},
        {"length": 96},
        {"n": 48},
        {"pattern": Pattern(2, 8)},
        {"dtype": "float32"},
        {"sharing": 4},
        {"layout": "columns"},
        {"taps": 2},
    ):
        assert not kernel.takes(Case(**fits | change)), change  # type: ignore[arg-type]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device 'cuda' is skipped: torch sees no CUDA device"):
        kernels("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    usable, skipped = kernels("cuda")
    assert [one.kernel for one in usable] == ["triton"]
    assert set(skipped.values()) == {"the device has no sparse tensor cores"}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: True)
    usable, skipped = kernels("cuda")
    assert [one.kernel for one in usable] == ["triton", "torch 2:4, cusparselt"]
    assert list(skipped) == ["torch 2:4, cutlass"]
    monkeypatch.setattr(measure_cuda, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="triton is not installed: pip install"):
        kernels("cuda")
