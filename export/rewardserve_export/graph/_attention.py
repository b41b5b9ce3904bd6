"""Packed attention, plugged into transformers' attention interface.

A backbone whose code calls the interface runs packed without a change: around its forward pass, `packed` says which
tokens form a block (see `PackedLayout.blocks`), and each block attends to its prefix and to the tokens of its own
segment, so the cost is that of the sequences one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from rewardserve._errors import UnsupportedModelError
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from rewardserve_export.runtime.torch_operators import packed_attention

__all__ = [
    "ATTENTION_DOMAIN",
    "ATTENTION_OP",
    "EAGER_ATTENTION",
    "ONNX_ATTENTION",
    "OPERATOR_ATTENTION",
    "is_causal",
    "packed",
    "register_packed_attention",
]

EAGER_ATTENTION = "rewardserve_packed"
ONNX_ATTENTION = "rewardserve_packed_onnx"
OPERATOR_ATTENTION = "rewardserve_packed_operator"
ATTENTION_DOMAIN = "rewardserve"
ATTENTION_OP = "PackedAttention"

_NO_WINDOW = 2**40
"""A sliding window that no sequence reaches."""

_HARMLESS = {"dropout", "output_attentions", "output_hidden_states", "position_ids", "use_cache"}

# Some families drop keyword arguments on the way to their attention, so the blocks don't travel as one.
_blocks: ContextVar[Tensor] = ContextVar("packed_blocks")


@contextmanager
def packed(blocks: Tensor) -> Iterator[None]:
    """Runs, or traces, a backbone's forward pass over these attention blocks [B, 6]."""
    token = _blocks.set(blocks)
    try:
        yield
    finally:
        _blocks.reset(token)


def register_packed_attention() -> None:
    """Makes the implementations selectable with `model.set_attn_implementation(name)`."""
    implementations = {
        EAGER_ATTENTION: _attend_eagerly,
        ONNX_ATTENTION: _emit_onnx_node,
        OPERATOR_ATTENTION: _call_operator,
    }
    for name, function in implementations.items():
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, _no_mask)


def _no_mask(*_: Any, local_size: int | None = None, **__: Any) -> int | None:
    """No mask; in its place the window that it would have cut, for the attention function to compare with its own."""
    return local_size


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What a family asks of its attention.

    Attributes:
        scale: Factor of the scores.
        behind: A query sees keys less than this many positions behind it.
        ahead: And less than this many ahead: 1 where causal.
        softcap: Scores become softcap * tanh(scores / softcap); 0 leaves them.
        sinks: One logit a head [heads] that takes part in the softmax and is dropped behind it, or None.
    """

    scale: float
    behind: int
    ahead: int
    softcap: float
    sinks: Tensor | None


def _attend_eagerly(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **asked: Any) -> Any:
    """In PyTorch's own operators; traced into TorchScript, its loop over the blocks stays a loop."""
    return _attend(packed_attention, module, query, key, value, mask, asked)


def _call_operator(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **asked: Any) -> Any:
    """As one operator, `rewardserve::packed_attention`, that whoever runs the graph provides."""
    return _attend(torch.ops.rewardserve.packed_attention, module, query, key, value, mask, asked)


def _attend(
    function: Any, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, asked: dict[str, Any]
) -> Any:
    """Query [1, heads, T, D], key and value [1, key-value heads, T, D] -> [1, T, heads, D]."""
    rules = _rules(module, query, mask, asked)
    settings = (rules.scale, rules.behind, rules.ahead, rules.softcap)
    return function(query, key, value, _blocks.get(), rules.sinks, *settings), None


def _emit_onnx_node(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **asked: Any) -> Any:
    """One custom node with the same shapes; `_onnx_functions.py` gives it a body of standard operators."""
    rules = _rules(module, query, mask, asked)
    if rules.softcap and rules.sinks is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} has soft-capping and sinks at once, which isn't supported"
        )
    inputs: list[Tensor | None] = [query, key, value, _blocks.get()]
    attributes: dict[str, Any] = {"scale": rules.scale, "behind": rules.behind, "ahead": rules.ahead}
    name = ATTENTION_OP
    if rules.softcap:
        name, attributes = f"{ATTENTION_OP}Softcap", {**attributes, "softcap": rules.softcap}
    if rules.sinks is not None:
        name, inputs = f"{ATTENTION_OP}Sinks", [*inputs, rules.sinks]
    _, heads, tokens, _ = query.shape
    shape = (1, tokens, heads, value.shape[3])
    return torch.onnx.ops.symbolic(
        f"{ATTENTION_DOMAIN}::{name}", inputs, attributes, dtype=query.dtype, shape=shape, version=1
    ), None


def _rules(module: nn.Module, query: Tensor, mask: Any, asked: dict[str, Any]) -> _Rules:
    """Reads what a family asks of its attention; refuses what isn't done here, since a wrong score would be silent."""
    name = type(module).__name__
    known = {"scaling", "sliding_window", "softcap", "s_aux", "is_causal"}
    unknown = sorted(key for key, value in asked.items() if key not in known | _HARMLESS and value is not None)
    if unknown:
        raise UnsupportedModelError(f"{name} asks its attention for {', '.join(unknown)}, which isn't supported")
    if isinstance(mask, Tensor):
        raise UnsupportedModelError(f"{name} makes an attention mask of its own. It can't be served packed")
    scale, window, causal = asked.get("scaling"), asked.get("sliding_window"), is_causal(module, asked)
    if mask is not None and mask != window:
        raise UnsupportedModelError(
            f"{name} limits its attention to {mask} tokens by a mask alone, which isn't supported"
        )
    behind = _NO_WINDOW if window is None else window
    return _Rules(
        scale=float(query.shape[-1] ** -0.5 if scale is None else scale),
        behind=behind,
        ahead=1 if causal else behind,
        softcap=float(asked.get("softcap") or 0.0),
        sinks=asked.get("s_aux"),
    )


def is_causal(module: nn.Module, asked: dict[str, Any]) -> bool:
    """Whether a query sees no later token: the caller's word, else the module's, as transformers decides it."""
    told = asked.get("is_causal")
    return bool(getattr(module, "is_causal", True) if told is None else told)
