"""Selection on torch tensors: every element type, both ways of ranking, and torch's own 2:4."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.sparse import _semi_structured_conversions as conversions

from nofm.kernels.compressed import compress, prune
from nofm.kernels.pattern import Pattern
from nofm.workloads.sparse import selection

DTYPES = list(selection.BITS)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """[outer, length, inner] of few different values: many ties, zeros, NaN, infinities."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 9)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, -3.0, torch.nan, torch.inf, 0.5, 4.0])
    return values[torch.randint(10, shape, generator=random)]


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(
        left.view(selection.BITS[left.dtype]), right.view(selection.BITS[left.dtype])
    )


@given(tensors(), st.sampled_from(DTYPES), st.integers(1, 6), st.integers(0, 4))
def test_operators_follow_the_rule_of_the_compressed_form(
    values: torch.Tensor, dtype: torch.dtype, n: int, more: int
) -> None:
    pattern = Pattern(n, n + more)
    runs = values.to(dtype)
    kept = selection.keep(runs, pattern.n, pattern.m)
    expected = torch.from_numpy(prune(runs.float().numpy(), pattern, 1)).to(dtype)
    assert same_bits(kept.nan_to_num(7.0), expected.nan_to_num(7.0))
    # Another device sorts; the order of equal magnitudes is that of their places all the same.
    mask = selection.mask(runs, pattern.n, pattern.m)
    assert torch.equal(mask, (selection._ranks(runs, pattern.m) < pattern.n).to(torch.uint8))
    assert same_bits(torch.where(mask.bool(), runs, torch.zeros((), dtype=dtype)), kept)


def test_any_memory_layout() -> None:
    values = torch.randn(3, 10, 16)
    turned = values.transpose(0, 2)
    assert torch.equal(selection.keep(turned, 2, 4), selection.keep(turned.contiguous(), 2, 4))


@pytest.mark.parametrize("op", [selection.keep, selection.mask], ids=["keep", "mask"])
def test_operators_are_sound(op: object) -> None:
    torch.library.opcheck(op, (torch.randn(2, 9, 3), 2, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_2_4_metadata_is_torchs_own(dtype: torch.dtype) -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(5)).to(dtype)
    pruned = selection.keep(weight.view(32, 64, 1), 2, 4).view(32, 64)
    values, meta = conversions.sparse_semi_structured_from_dense_cutlass(pruned)
    back = conversions.sparse_semi_structured_to_dense_cutlass(values, meta)
    assert torch.equal(back, pruned)
    # The same values and places as ours: groups along the rows' length.
    ours = compress(weight.t().float().numpy()[None], Pattern(2, 4))
    assert torch.equal(values.float(), torch.from_numpy(ours.values).permute(2, 0, 1).flatten(1))
    assert places(meta, 32, 64).equal(torch.from_numpy(ours.index).permute(2, 0, 1).long())


def places(meta: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """int64 [rows, groups, 2]: the places in torch's metadata, 4 bits a group, 4 groups a word."""
    offsets = conversions._calculate_meta_reordering_scatter_offsets(
        rows, columns // 16, meta.dtype, meta.device
    )
    words = torch.gather(meta.view(-1), 0, offsets).view(rows, columns // 16).long()
    bits = torch.stack([words >> shift & 3 for shift in range(0, 16, 2)], dim=-1)
    return bits.view(rows, columns // 4, 2)
