"""What serving a checkpoint takes of memory, from its headers and its configuration: no weight is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rewardserve._errors import CheckpointError

from rewardserve_export.checkpoint import Checkpoint
from rewardserve_export.graph import BLOCK_TOKENS, Precision

__all__ = ["MemoryEstimate", "estimate_memory", "multiplied_parameters"]

_BYTES = {"fp32": 4, "int8": 4, "bf16": 2, "fp16": 2}
"""Of a number that isn't a linear layer's weight."""

_LINEAR_BYTES = {**_BYTES, "int8": 1}

_NOT_EXPORTED = ("lm_head.", "lora_")
"""Parts of the names of tensors that aren't in the graph: the language model's head, and adapters, which are merged."""

_LAYOUT_BYTES = 100
"""A token's ids, positions and segments, int64 each."""

_MASK_BYTES = 14
"""Of a query and a key: their distance (int64), whether the one sees the other (twice), and what is added (float32)."""

_SLACK = 1.1
"""What allocators lose to fragments: runs of three models took 0.98 to 1.1 times what is computed here."""

_INNER_SIZES = ("moe_intermediate_size", "intermediate_size", "ffn_dim", "n_inner", "d_inner")


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes that one instance of a model takes.

    Attributes:
        weights: In the precision that is served.
        attention: Of a run's longest block of attention.
        per_token: Of a run's activations.
    """

    weights: int
    attention: int
    per_token: int

    def of_run(self, tokens: int) -> int:
        """With the activations of a run of so many tokens."""
        return self.weights + self.attention + self.per_token * tokens

    def largest_run(self, available: int) -> int:
        """Tokens of the largest run for which so many bytes are enough; 0 or less where none is."""
        return (available - self.weights - self.attention) // self.per_token


def estimate_memory(checkpoint: Checkpoint, precision: Precision, max_length: int) -> MemoryEstimate:
    """Estimates what a packed graph takes.

    Args:
        checkpoint: Its headers.
        precision: Of the export.
        max_length: Tokens of the longest sequence.

    Raises:
        CheckpointError: The configuration says too little about the backbone.
    """
    sizes = _Sizes.of(checkpoint)
    activations = _BYTES[precision] * (sizes.mlp + sizes.attention) + _LAYOUT_BYTES
    # Scores and their softmax, in float32, of one block of queries; and the keys and values that it reads.
    scores = BLOCK_TOKENS * max_length * (2 * 4 * sizes.heads + _MASK_BYTES)
    keys = 2 * _BYTES[precision] * sizes.key_value_heads * sizes.head_size * max_length
    return MemoryEstimate(
        weights=sum(
            math.prod(shape) * (_LINEAR_BYTES if _is_multiplied(name, shape) else _BYTES)[precision]
            for name, shape in _exported(checkpoint)
        ),
        attention=round(_SLACK * (scores + keys)),
        per_token=round(_SLACK * activations),
    )


def multiplied_parameters(checkpoint: Checkpoint) -> int:
    """How many weights a token is multiplied by; of a mixture of experts all, though a token takes a few of them."""
    return sum(math.prod(shape) for name, shape in _exported(checkpoint) if _is_multiplied(name, shape))


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Of the backbone, in numbers a token."""

    hidden: int
    inner: int
    heads: int
    key_value_heads: int
    head_size: int

    @property
    def mlp(self) -> int:
        """At the widest point of a gated MLP: states before and behind the norm, both halves, activation, product."""
        return 2 * self.hidden + 4 * self.inner

    @property
    def attention(self) -> int:
        """States; queries three times (as projected, rotated, scaled), keys twice, values, the outputs twice.

        Memory of this size is kept beside the MLP's: the allocator's pieces of the one don't fit the other.
        """
        return self.hidden + (5 * self.heads + 3 * self.key_value_heads) * self.head_size

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> _Sizes:
        config: Any = checkpoint.backbone_config
        hidden, heads = (getattr(config, name, None) for name in ("hidden_size", "num_attention_heads"))
        if not hidden or not heads:
            raise CheckpointError(
                f"the config.json of {checkpoint.directory} doesn't say how wide its backbone is (hidden_size, "
                "num_attention_heads), so its memory can't be estimated. Remedy: export it, and measure the server"
            )
        inner = next((size for name in _INNER_SIZES if (size := getattr(config, name, None))), 4 * hidden)
        return cls(
            hidden=hidden,
            inner=inner * (getattr(config, "num_experts_per_tok", None) or 1),
            heads=heads,
            key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_size=getattr(config, "head_dim", None) or hidden // heads,
        )


def _exported(checkpoint: Checkpoint) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors that the graph holds."""
    return [
        (name, tensor.shape)
        for store in checkpoint.files.stores
        for name, tensor in store.tensors.items()
        if not any(part in name for part in _NOT_EXPORTED)
    ]


def _is_multiplied(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a linear layer's, or experts': no vector, and no embedding, which is looked up."""
    return len(shape) >= 2 and not any(part in name for part in ("embed", "wte", "wpe"))
