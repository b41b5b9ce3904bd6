"""The peers, and the precisions in which they are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks._models import Model
from benchmarks._processes import Cores
from benchmarks._servers import Server
from benchmarks.peers import _start
from benchmarks.peers._pytriton import PyTritonServer

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server in one precision.

    Attributes:
        name: For reports.
        precision: Of its weights and activations.
        start: Starts it for a model, with (model, precision, cores, log), and waits until it is ready.
    """

    name: str
    precision: str
    start: Callable[[Model, str, Cores, Path], Server]


PEERS = (
    Peer(name="vllm/bf16", precision="bf16", start=_start.vllm),
    Peer(name="vllm/fp32", precision="fp32", start=_start.vllm),
    Peer(name="openvino/bf16", precision="bf16", start=_start.openvino),
    Peer(name="openvino/fp32", precision="fp32", start=_start.openvino),
    Peer(name="openrlhf/bf16", precision="bf16", start=_start.openrlhf),
    Peer(name="pytriton/bf16", precision="bf16", start=PyTritonServer),
    Peer(name="onnxruntime-padded/fp32", precision="fp32", start=_start.onnxruntime),
)
