"""What each ATen operator is to a trace: a product, a convolution, moved elements, or nothing.

Names are without namespace suffixes, overloads and the underscore of in-place forms: `add_.Tensor`
is `add`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nofm.workloads.layer import VectorKind

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot"})
"""Products of two matrices, batched or not, or of their one-dimensional forms."""

ADDED = frozenset({"addmm", "baddbmm", "addmv"})
"""Those of `PRODUCTS` that add their first argument to the product of the other two."""

CONVOLUTION = "convolution"
CONVOLUTION_BACKWARD = "convolution_backward"

_UNSUPPORTED_PRODUCT = re.compile(
    r"mm$|mm_|matmul|conv(?!ert)|(^|_)linear(_|$)|^_trilinear$|attention|transformer|lstm|gru|rnn"
    r"|linalg_|cdist|euclidean|_fft_|cholesky|triangular_solve|(^|_)lu_|qr$"
)
"""Operators that multiply and accumulate but have no layer here."""

_KINDS: dict[VectorKind, tuple[str, ...]] = {
    "normalisation": (
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "_batch_norm_with_update",
        "batch_norm_backward",
        "native_layer_norm",
        "native_group_norm",
        "_fused_rms_norm",
    ),
    "pooling": (
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "fractional_max_pool2d",
        "fractional_max_pool3d",
        "max_unpool2d",
        "max_unpool3d",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_bicubic2d",
        "upsample_trilinear3d",
        "grid_sampler_2d",
        "grid_sampler_3d",
    ),
    "softmax": ("_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "_masked_softmax"),
    "embedding": ("embedding", "_embedding_bag", "embedding_bag", "embedding_renorm"),
    "reduction": (
        "sum",
        "mean",
        "prod",
        "amax",
        "amin",
        "max",
        "min",
        "argmax",
        "argmin",
        "all",
        "any",
        "var",
        "std",
        "var_mean",
        "std_mean",
        "norm",
        "aminmax",
        "cummax",
        "cummin",
        "cumsum",
        "cumprod",
        "dist",
        "kthvalue",
        "linalg_vector_norm",
        "logcumsumexp",
        "median",
        "sort",
        "topk",
        "nll_loss_forward",
        "nll_loss2d_forward",
    ),
    "copy": (
        "clone",
        "copy",
        "_to_copy",
        "cat",
        "stack",
        "repeat",
        "repeat_interleave",
        "index",
        "index_select",
        "index_put",
        "_unsafe_index",
        "_unsafe_index_put",
        "index_copy",
        "index_add",
        "index_fill",
        "gather",
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "take",
        "masked_select",
        "masked_scatter",
        "roll",
        "flip",
        "rot90",
        "tril",
        "triu",
        "constant_pad_nd",
        "reflection_pad1d",
        "reflection_pad2d",
        "reflection_pad3d",
        "replication_pad1d",
        "replication_pad2d",
        "replication_pad3d",
        "slice_scatter",
        "select_scatter",
        "diagonal_scatter",
        "diag_embed",
        "select_backward",
        "slice_backward",
        "unfold_backward",
        "im2col",
        "col2im",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "native_channel_shuffle",
        "zero",
        "fill",
        "resize",
        "set",
        "lift_fresh",
    ),
    "elementwise": (
        "_prelu_kernel",
        "_weight_norm_interface",
        "abs",
        "bernoulli",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "bucketize",
        "clamp",
        "complex",
        "copysign",
        "cross",
        "eq",
        "fake_quantize_per_channel_affine_cachemask",
        "fake_quantize_per_tensor_affine_cachemask",
        "floor_divide",
        "ge",
        "gelu",
        "glu",
        "gt",
        "hardswish",
        "huber_loss",
        "l1_loss",
        "le",
        "lerp",
        "linalg_cross",
        "lt",
        "masked_fill",
        "mish",
        "mse_loss",
        "native_dropout",
        "ne",
        "normal",
        "polar",
        "rrelu_with_noise",
        "searchsorted",
        "smooth_l1_loss",
        "soft_margin_loss",
        "threshold",
        "uniform",
        "where",
    ),
}
_KIND_OF: dict[str, VectorKind] = {name: kind for kind, names in _KINDS.items() for name in names}

SHAPE_ONLY = frozenset(
    {
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "rand_like",
        "randn_like",
        "randint_like",
        "new_empty",
        "new_empty_strided",
        "new_zeros",
        "new_ones",
        "new_full",
    }
)
"""Operators that look at a tensor's shape and not at its elements."""

OVERWRITES = frozenset({"copy", "zero", "fill", "bernoulli", "normal", "uniform", "random"})
"""Operators whose in-place form does not read what it replaces."""

GATHERS = frozenset(
    {
        "embedding",
        "_embedding_bag",
        "index",
        "_unsafe_index",
        "index_select",
        "gather",
        "take",
        "constant_pad_nd",
    }
)
"""Operators that read no more elements of their first tensor than they write. (Padding may be
negative: then it cuts.)"""

TWO_PASSES: dict[str, tuple[int, ...]] = {
    "native_batch_norm": (0,),
    "_native_batch_norm_legit": (0,),
    "_batch_norm_with_update": (0,),
    "native_batch_norm_backward": (0, 1),
    "batch_norm_backward": (0, 1),
    "native_group_norm": (0,),
    "native_group_norm_backward": (0, 1),
}
"""Tensor arguments that are read twice: once for sums over whole feature maps, and again to
normalise with them. Rows of a layer normalisation or softmax are short and stay on the chip."""

BATCH_NORM_TRAINING = {"native_batch_norm": 5, "native_batch_norm_backward": 7}
"""Where a batch normalisation says whether it trains; in evaluation it has no sums to form."""


def plain_name(qualified: str) -> str:
    """An operator's name as used here: "aten::add_" gives "add".

    Operators outside `aten` and `prims` keep their namespace: "mylib::warp" is "mylib.warp".
    """
    namespace, _, name = qualified.partition("::")
    inner = name.rstrip("_") or name
    return inner if namespace in ("aten", "prims") else f"{namespace}.{inner}"


def is_unsupported_product(name: str) -> bool:
    """Whether an operator multiplies and has no layer, or cannot be known not to.

    Operators outside ATen cannot be known.
    """
    if name in _KIND_OF:
        return False
    return "." in name or _UNSUPPORTED_PRODUCT.search(name) is not None


def vector_kind(name: str, tags: Collection[str] = ()) -> VectorKind | None:
    """The kind of an operator that moves elements; None where no table knows it."""
    if name in _KIND_OF:
        return _KIND_OF[name]
    if name.endswith("_copy"):
        return "copy"
    base = re.sub(r"(_backward(_data)?|_forward)$", "", name)
    if base != name:
        for candidate in (base, f"_{base}", f"native_{base}"):
            if candidate in _KIND_OF:
                return _KIND_OF[candidate]
    if "pointwise" in tags or base != name:
        return "elementwise"
    if "reduction" in tags:
        return "reduction"
    return None
