"""How large a server has to be: memory, limits, replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rewardserve._errors import ExportError

from rewardserve_export._memory import MemoryEstimate, estimate_memory, multiplied_parameters
from rewardserve_export._options import ExportOptions, Limits
from rewardserve_export.checkpoint import Checkpoint, open_checkpoint

__all__ = ["CPU_OVERHEAD", "GPU_OVERHEAD", "Plan", "ServingTarget", "Throughput", "plan"]

CPU_OVERHEAD = 180_000_000
"""Bytes that a server takes without a model: tritonserver, three Python processes, ONNX Runtime. Measured: 150 to 160
million."""

GPU_OVERHEAD = 1_500_000_000
"""Bytes of a GPU that an instance takes besides its model: CUDA's context and its libraries' kernels. Assumed, not
measured."""

_USABLE = 0.95
"""Of a GPU's memory: the rest is the driver's, and what else runs there."""

_ROUND_TO = 256


@dataclass(frozen=True, kw_only=True)
class ServingTarget:
    """What the model is to be served on, and what for.

    Attributes:
        gpu_memory: Of one GPU, in GB (10^9 bytes); None plans for a CPU.
        rollouts_per_second: To be scored by all replicas; None plans one replica.
        tokens_per_rollout: Prompt and response, mean; None takes half of max_length.
        tokens_per_second: Of one replica, measured; None computes it from `tflops`.
        tflops: Of one GPU, or of the CPU: 10^12 floating-point operations a second in the precision that is served, as
            its maker states them.
        utilisation: Share of `tflops` that a run reaches, above 0, at most 1.

    Raises:
        ExportError: A field has no valid value.
    """

    gpu_memory: float | None = None
    rollouts_per_second: float | None = None
    tokens_per_rollout: int | None = None
    tokens_per_second: float | None = None
    tflops: float | None = None
    utilisation: float = 0.4

    def __post_init__(self) -> None:
        for name in (
            "gpu_memory",
            "rollouts_per_second",
            "tokens_per_rollout",
            "tokens_per_second",
            "tflops",
            "utilisation",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ExportError(f"{name} is {value}. Remedy: a positive number")
        if self.utilisation > 1:
            raise ExportError(f"utilisation is {self.utilisation}. Remedy: at most 1")
        if self.tokens_per_second is not None and self.tflops is not None:
            raise ExportError("tokens_per_second and tflops are both given. Remedy: the measured figure alone")
        if self.rollouts_per_second is not None and self.tokens_per_second is None and self.tflops is None:
            raise ExportError(
                "how many replicas rollouts_per_second takes depends on how fast one is. Remedy: tokens_per_second, "
                "measured, or tflops, of the device"
            )


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How fast a replica is, and how many are needed.

    Attributes:
        tokens_per_second: Of one replica.
        measured: Whether the caller measured that; else it is `tflops` times `utilisation`, at two operations a token
            and weight, without the attention's own.
        tokens_per_rollout: Prompt and response.
        rollouts_per_second: Of one replica.
        replicas: For the rollouts that were asked for, without one to spare; None where none were.
    """

    tokens_per_second: float
    measured: bool
    tokens_per_rollout: int
    rollouts_per_second: float
    replicas: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large a server has to be.

    Attributes:
        parameters: Of the checkpoint.
        precision: Of the export.
        limits: Of the export, in tokens.
        memory: Of one instance.
        overhead: Bytes besides that, for an instance on a GPU, or the server on a CPU.
        total: Bytes with one instance and runs of `limits.max_batch_tokens`.
        available: Bytes of the GPU that can be used, or None: no GPU was given.
        largest_max_batch_tokens: That fits there with one instance, or None: no GPU was given, or not even a sequence
            of max_length fits.
        instances: That fit there with these limits, or None.
        throughput: Or None, where neither a measured figure nor `tflops` was given.
    """

    parameters: int
    precision: str
    limits: Limits
    memory: MemoryEstimate
    overhead: int
    total: int
    available: int | None
    largest_max_batch_tokens: int | None
    instances: int | None
    throughput: Throughput | None


def plan(source: str | Path, options: ExportOptions, target: ServingTarget) -> Plan:
    """Plans a server for a checkpoint, from its headers: no weight is loaded.

    The estimate is that of a packed model with ONNX's `loop` attention; models that are padded (docs/families.md) take
    more.

    Args:
        source: A checkpoint's directory, or its name on the Hugging Face Hub.
        options: Of the export that is planned.
        target: Where it is to be served, and what for.

    Raises:
        CheckpointError: The checkpoint can't be read, or doesn't say how wide its backbone is.
        ExportError: The limits contradict each other, or the backbone.
    """
    checkpoint = open_checkpoint(source, base=options.base, value_head_prefix=options.value_head_prefix)
    limits = options.limits(checkpoint.positions)
    memory = estimate_memory(checkpoint, options.precision, limits.max_length)
    overhead = CPU_OVERHEAD if target.gpu_memory is None else GPU_OVERHEAD
    total = overhead + memory.of_run(limits.max_batch_tokens)
    available = None if target.gpu_memory is None else int(_USABLE * target.gpu_memory * 1e9)
    return Plan(
        parameters=checkpoint.parameters,
        precision=options.precision,
        limits=limits,
        memory=memory,
        overhead=overhead,
        total=total,
        available=available,
        largest_max_batch_tokens=None if available is None else _largest(memory, available - overhead, limits),
        instances=None if available is None else available // total,
        throughput=_throughput(checkpoint, limits, target),
    )


def _largest(memory: MemoryEstimate, available: int, limits: Limits) -> int | None:
    tokens = memory.largest_run(available) // _ROUND_TO * _ROUND_TO
    return tokens if tokens >= limits.max_length else None


def _throughput(checkpoint: Checkpoint, limits: Limits, target: ServingTarget) -> Throughput | None:
    tokens_per_second = target.tokens_per_second
    if tokens_per_second is None:
        if target.tflops is None:
            return None
        tokens_per_second = target.tflops * 1e12 * target.utilisation / (2 * multiplied_parameters(checkpoint))
    tokens = target.tokens_per_rollout or max(1, limits.max_length // 2)
    wanted = target.rollouts_per_second
    return Throughput(
        tokens_per_second=tokens_per_second,
        measured=target.tokens_per_second is not None,
        tokens_per_rollout=tokens,
        rollouts_per_second=tokens_per_second / tokens,
        replicas=None if wanted is None else math.ceil(wanted * tokens / tokens_per_second),
    )
