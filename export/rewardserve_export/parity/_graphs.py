"""Exported graphs, run on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from rewardserve import _wire

from rewardserve_export.checkpoint import pages_released
from rewardserve_export.graph import EXTERNAL_DATA, HALF_PRECISIONS, Precision
from rewardserve_export.parity._scorers import Runner
from rewardserve_export.parity._twin import float32_twin
from rewardserve_export.runtime.torch_engine import TorchEngine

__all__ = ["Graph", "exported_graph", "onnx_graph", "onnx_runner", "rewards_of", "torchscript_runner"]

Graph = Callable[[dict[str, npt.NDArray[np.int32]]], dict[str, npt.NDArray[Any]]]
"""A graph's inputs for one batch, by name -> its outputs, by name."""


@contextmanager
def exported_graph(path: Path, precision: Precision) -> Iterator[Graph]:
    """Loads a graph for the parity check.

    Args:
        path: Of `model.onnx` or `model.pt`.
        precision: That it was traced in.
    """
    if path.suffix == ".pt":
        yield _torchscript_graph(path)
    elif precision in HALF_PRECISIONS:
        with float32_twin(path) as twin:
            yield onnx_graph(twin)
    else:
        with pages_released([path.with_name(EXTERNAL_DATA)]):
            yield onnx_graph(path, mapped=True)


def onnx_graph(path: Path, *, mapped: bool = False) -> Graph:
    """A `model.onnx` in ONNX Runtime.

    Args:
        path: Of the file.
        mapped: Whether weights stay in their file: slower, and of no size in memory. Else they are laid out anew.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about optimizations that it leaves out
    if mapped:
        options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def rewards_of(graph: Graph) -> Runner:
    """What the graph says of rewards and fingerprints."""

    def run(
        inputs: dict[str, npt.NDArray[np.int32]],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        outputs = graph(inputs)
        return outputs[_wire.REWARDS], outputs[_wire.FINGERPRINTS]

    return run


def onnx_runner(path: Path) -> Runner:
    """Runs a `model.onnx`."""
    return rewards_of(onnx_graph(path))


def torchscript_runner(path: Path) -> Runner:
    """Runs a `model.pt` as the Python backend does."""
    return rewards_of(_torchscript_graph(path))


def _torchscript_graph(path: Path) -> Graph:
    return TorchEngine(path.parent, device="cpu", threads=torch.get_num_threads()).run
