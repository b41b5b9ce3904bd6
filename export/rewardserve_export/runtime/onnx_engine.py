"""Runs a `model.onnx`: ONNX Runtime, on the CPU or a CUDA GPU."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

__all__ = ["OnnxEngine"]


class OnnxEngine:
    """One loaded graph.

    Args:
        directory: That holds `model.onnx`.
        device: For instance `cpu` or `cuda:0`.
        threads: Of each operator, on the CPU.
    """

    def __init__(self, directory: Path, *, device: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1  # the graph is a chain: nothing runs beside anything
        options.enable_mem_pattern = False  # no two runs have the same shapes
        options.log_severity_level = 3  # its warnings are about optimizations that it leaves out
        self._session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=_providers(device))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feed: dict[str, npt.NDArray[np.int32]]) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs by name -> its outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def _providers(device: str) -> list[Any]:
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        warnings.warn(
            "a GPU was asked for, but onnxruntime in this Python environment has no CUDA: running on the CPU. "
            "Remedy: pip install onnxruntime-gpu in its place",
            RuntimeWarning,
            stacklevel=2,
        )
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]
