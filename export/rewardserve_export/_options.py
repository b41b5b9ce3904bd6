"""What an export may be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from rewardserve._errors import ExportError

from rewardserve_export.graph import HALF_PRECISIONS, Attention, Precision
from rewardserve_export.repository import STOCK_BACKENDS, Backend, Scheduling

__all__ = ["DEFAULT_MAX_LENGTH", "ExportOptions", "Limits", "TokenizationPreset", "Truncation"]

Truncation = Literal["error", "left", "right"]
TokenizationPreset = Literal["auto", "plain", "openrlhf", "trl"]
Format = Literal["onnx", "torchscript"]

_CHOICES = {
    "backend": Backend,
    "format": Format,
    "precision": Precision,
    "attention": Attention,
    "truncation": Truncation,
    "tokenization": TokenizationPreset,
}

DEFAULT_MAX_LENGTH = 8192
"""Tokens. Longer contexts are served when asked for: the memory of a run grows with them."""

MIN_REFERENCE = 100
"""Texts: ten between two deciles. By chance alone, a population stability index over them is then some 0.1."""

_RUN_OF = 4
"""Sequences of full length in one run by default."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export a checkpoint.

    Attributes:
        repository: The Triton model repository to publish in.
        name: Of the model.
        backend: `python` (ours, runs both formats), or of stock Triton `onnxruntime` for ONNX, `pytorch` for
            TorchScript.
        format: Of the graph.
        precision: Of its weights and activations; the value head and the rewards are fp32 in any. `fp16` and `bf16` are
            for GPUs, `int8` is for CPUs (with VNNI: on older ones, sums of large products saturate).
        attention: `loop` is standard ONNX, for any machine; `cuda` is GroupQueryAttention, ONNX Runtime's own, made for
            GPUs in fp16 and bf16.
        max_length: Tokens of one sequence; by default those of the training where the checkpoint says, else the
            backbone's positions, at most 8,192.
        max_request_tokens: Tokens of one packed request. By default one run on the Python backend, which merges
            requests by their tokens, so that many responses share a prompt; max_length on a stock backend, which merges
            only as many requests as always fit.
        max_batch_tokens: Tokens of one run; by default four times max_length.
        truncation: What the client does with longer texts: an error, or cut off their left or right end.
        tokenization: How the training turned text into tokens: `openrlhf`, `trl` (its RewardTrainer), or `plain`, the
            tokenizer as it is. `auto` takes what the training wrote beside the weights; else `openrlhf` for OpenRLHF's
            checkpoints, else `plain`.
        values: Whether the server also answers the head's output at every token.
        allow_untrained_head: Whether a checkpoint without a value head is exported with a random one.
        threads: Of each instance on a CPU, on the Python backend; by default an equal share of the server's cores.
        reference: Texts, at least 100, whose rewards the server's metrics compare those of its traffic with: texts of
            the kind that it will be sent. Python backend only.
        scheduling: How the server runs it: copies, queue, warm-up.
        base: For an adapter, the model it was trained on; by default the one that its `adapter_config.json` names.
        value_head_prefix: Name of the value head, without `.weight`; by default where its trainer keeps it.
    """

    repository: Path
    name: str = "reward"
    backend: Backend = "python"
    format: Format = "onnx"
    precision: Precision = "fp32"
    attention: Attention = "loop"
    max_length: int | None = None
    max_request_tokens: int | None = None
    max_batch_tokens: int | None = None
    truncation: Truncation = "error"
    tokenization: TokenizationPreset = "auto"
    values: bool = False
    allow_untrained_head: bool = False
    threads: int | None = None
    reference: tuple[str, ...] | None = None
    scheduling: Scheduling = field(default_factory=Scheduling)
    base: str | Path | None = None
    value_head_prefix: str | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise ExportError(f"{name} is {getattr(self, name)!r}. Remedy: one of {', '.join(get_args(choices))}")
        if self.backend not in (backends := ("python", STOCK_BACKENDS[self.format])):
            raise ExportError(
                f"backend is {self.backend!r}, which doesn't run {self.format}. Remedy: one of {', '.join(backends)}"
            )
        if self.precision == "int8" and self.backend == "pytorch":
            raise ExportError("int8 in TorchScript needs rewardserve's own operators. Remedy: backend 'python'")
        if self.threads is not None and self.backend != "python":
            raise ExportError("threads are for the Python backend. Remedy: leave them out, or backend 'python'")
        if self.reference is not None:
            self._check_reference(self.reference)
        for name in ("max_length", "max_request_tokens", "max_batch_tokens", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ExportError(f"{name} is {value}. Remedy: at least 1")
        if self.attention == "cuda" and self.format != "onnx":
            raise ExportError("attention 'cuda' is ONNX Runtime's. Remedy: leave it out, or format 'onnx'")
        if self.attention == "cuda" and self.precision not in HALF_PRECISIONS:
            raise ExportError(
                f"attention is 'cuda', but ONNX Runtime has it on GPUs in fp16 and bf16 only, not in {self.precision}. "
                "Remedy: precision 'bf16', or attention 'loop'"
            )
        if self.tokenization == "trl" and self.truncation != "error":
            raise ExportError(
                f"truncation is {self.truncation!r}, but TRL's RewardTrainer drops texts that are too long: the model "
                "never saw a cut one. Remedy: truncation 'error', or tokenization 'plain'"
            )

    def _check_reference(self, texts: tuple[str, ...]) -> None:
        if self.backend != "python":
            raise ExportError(
                "a reference is for metrics that only the Python backend has. Remedy: leave it out, or backend 'python'"
            )
        if len(texts) < MIN_REFERENCE:
            raise ExportError(
                f"the reference has {len(texts)} texts: the deciles of so few say little. "
                f"Remedy: at least {MIN_REFERENCE}"
            )

    @property
    def operators(self) -> bool:
        """Whether the graph calls rewardserve's own operators: their kernels are for CPUs, and fp16 is for GPUs."""
        return self.format == "torchscript" and self.backend == "python" and self.precision != "fp16"

    @property
    def graph(self) -> str:
        """The graph's format and operators, as the reward contract names them."""
        if self.attention == "cuda":
            return f"{self.format}, cuda attention"
        return f"{self.format}, own operators" if self.operators else self.format

    def limits(self, positions: int | None, default_length: int = DEFAULT_MAX_LENGTH) -> Limits:
        """Fills in what wasn't given.

        Args:
            positions: Longest sequence that the backbone was made for, or None.
            default_length: max_length where none is given and nothing else bounds it.

        Raises:
            ExportError: The limits contradict each other, or the backbone.
        """
        bounds = [bound for bound in (positions, self.max_request_tokens, self.max_batch_tokens) if bound is not None]
        max_length = self.max_length or min([default_length, *bounds])
        if positions is not None and max_length > positions:
            raise ExportError(
                f"max_length {max_length} is more than the backbone's {positions} positions. Remedy: lower it"
            )
        max_batch = self.max_batch_tokens or _RUN_OF * max(max_length, self.max_request_tokens or 0)
        max_request = self.max_request_tokens or (max_batch if self.backend == "python" else min(max_length, max_batch))
        if not max_length <= max_request <= max_batch:
            raise ExportError(
                f"a sequence must fit into a request, and a request into a run, but max_length is {max_length}, "
                f"max_request_tokens {max_request} and max_batch_tokens {max_batch}. Remedy: raise the later ones"
            )
        return Limits(max_length=max_length, max_request_tokens=max_request, max_batch_tokens=max_batch)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Tokens that fit into a sequence, a request, a run.

    Attributes:
        max_length: One sequence.
        max_request_tokens: One packed request.
        max_batch_tokens: One run of the graph.
    """

    max_length: int
    max_request_tokens: int
    max_batch_tokens: int
