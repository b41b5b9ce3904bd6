"""How a server runs a model: copies, queue, priorities, warm-up, as config.pbtxt has them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rewardserve import _wire
from rewardserve._contract import PRIORITIES
from rewardserve._errors import ExportError
from tritonclient.grpc import model_config_pb2 as pb

__all__ = ["WARMUP", "Scheduling", "add_warmup", "dynamic_batching", "instance_group", "stage_warmup"]

WARMUP = "warmup"
"""The directory beside a model's versions where Triton looks for its warm-up data."""

QUEUE_DELAY_MICROSECONDS = 100
"""Long enough for requests sent at once to meet, and hardly anything to one that is alone; under load, requests wait
for the run before theirs anyway."""

_SHORT = 16
"""Tokens of the warm-up's smallest request."""


@dataclass(frozen=True, kw_only=True)
class Scheduling:
    """What a server is told about running a model.

    Attributes:
        instances: Copies of the model, each with its own weights; with `gpus`, on each of them.
        gpus: Which GPUs; empty: all, or the CPU where there is none.
        queue_size: Requests that may wait, in each priority; more are refused, and clients come back later.
        queue_timeout: Seconds that a request may wait. By default the client's own timeout: nobody waits longer.
        warmup: Whether a version computes requests of several sizes before it is ready: the first run of a size
            allocates memory, and on GPUs loads kernels.

    Raises:
        ExportError: A field has no valid value.
    """

    instances: int = 1
    gpus: tuple[int, ...] = ()
    queue_size: int = 4096
    queue_timeout: float = 300.0
    warmup: bool = False

    def __post_init__(self) -> None:
        for name in ("instances", "queue_size"):
            if (value := getattr(self, name)) < 1:
                raise ExportError(f"{name} is {value}. Remedy: at least 1")
        if not (math.isfinite(self.queue_timeout) and self.queue_timeout > 0):
            raise ExportError(f"queue_timeout is {self.queue_timeout}. Remedy: a positive number of seconds")
        if len(set(self.gpus)) != len(self.gpus) or any(gpu < 0 for gpu in self.gpus):
            raise ExportError(f"gpus are {list(self.gpus)}. Remedy: different numbers, from 0")

    @property
    def copies(self) -> int:
        """On all devices, as far as they are named."""
        return self.instances * max(1, len(self.gpus))


def instance_group(scheduling: Scheduling) -> Any:
    """How many copies, and where."""
    # Without a group, Triton starts two instances on a CPU, each with its own copy of the weights.
    group = pb.ModelInstanceGroup(count=scheduling.instances)
    if scheduling.gpus:
        group.kind = pb.ModelInstanceGroup.KIND_GPU
        group.gpus.extend(scheduling.gpus)
    return group


def dynamic_batching(scheduling: Scheduling) -> Any:
    """How requests wait, and in which order."""
    return pb.ModelDynamicBatching(
        max_queue_delay_microseconds=QUEUE_DELAY_MICROSECONDS,
        priority_levels=len(PRIORITIES),
        default_priority_level=PRIORITIES["bulk"],
        default_queue_policy=pb.ModelQueuePolicy(
            timeout_action=pb.ModelQueuePolicy.REJECT,
            default_timeout_microseconds=round(scheduling.queue_timeout * 1e6),
            allow_timeout_override=True,
            max_queue_size=scheduling.queue_size,
        ),
    )


def add_warmup(config: Any, contracts: Iterable[str]) -> None:
    """Has every version compute requests of several sizes before it is ready: none larger than each of them takes.

    Args:
        config: The model's.
        contracts: Of all versions, as JSON.
    """
    limits = [json.loads(text) for text in contracts]
    max_length = min(limit["tokenization"]["max_length"] for limit in limits)
    max_request = min(limit["max_request_tokens"] for limit in limits)
    for sequences, length in _sizes(max_length, max_request):
        sample = config.model_warmup.add(name=f"{sequences} x {length} tokens", batch_size=1)
        # Id 0 is in every vocabulary.
        sample.inputs[_wire.INPUT_IDS].CopyFrom(
            pb.ModelWarmup.Input(data_type=pb.TYPE_INT32, dims=[sequences * length], zero_data=True)
        )
        sample.inputs[_wire.SEGMENTS].CopyFrom(
            pb.ModelWarmup.Input(
                data_type=pb.TYPE_INT32, dims=[sequences, 2], input_data_file=f"segments_{sequences}x{length}"
            )
        )


def stage_warmup(config: Any, staged: Path) -> None:
    """Writes the data files that a configuration's warm-up names.

    Args:
        config: The model's.
        staged: The model's staged directory.
    """
    for sample in config.model_warmup:
        segments = sample.inputs[_wire.SEGMENTS]
        length = sample.inputs[_wire.INPUT_IDS].dims[0] // segments.dims[0]
        (staged / WARMUP).mkdir(exist_ok=True)
        content = np.array([[length, 0]] * segments.dims[0], dtype=np.int32)
        (staged / WARMUP / segments.input_data_file).write_bytes(content.tobytes())


def _sizes(max_length: int, max_request: int) -> Iterator[tuple[int, int]]:
    """Sequences and tokens of each: one that is short, one of full length, a full request."""
    sizes = [(1, min(_SHORT, max_length)), (1, max_length), (max_request // max_length, max_length)]
    yield from dict.fromkeys(sizes)
