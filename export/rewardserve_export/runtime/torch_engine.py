"""Runs a `model.pt`: a TorchScript graph, on the CPU or a CUDA GPU."""

from __future__ import annotations

import ctypes
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import torch_operators  # noqa: F401 - defines what the graph calls
from .torch_kernels import load_kernels

__all__ = ["TorchEngine"]

_INPUTS = ("input_ids", "segments", "request_tokens", "request_segments")
_OUTPUTS = ("rewards", "fingerprints", "values")


class TorchEngine:
    """One loaded graph.

    Args:
        directory: That holds `model.pt`.
        device: For instance `cpu` or `cuda:0`.
        threads: Of each operator, on the CPU.
    """

    def __init__(self, directory: Path, *, device: str, threads: int) -> None:
        self._device = torch.device(device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            self._module = torch.jit.load(str(directory / "model.pt"), map_location=self._device).eval()
        if self._device.type == "cpu":
            _keep_freed_memory()
            torch.set_num_threads(threads)
            if load_kernels():
                _pack_weights(self._module)
        else:
            _bind(self._module, self._device)

    def run(self, feed: dict[str, npt.NDArray[np.int32]]) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs by name -> its outputs by name."""
        with torch.inference_mode():
            results = self._module(*(torch.from_numpy(feed[name]).to(self._device) for name in _INPUTS))
        # `values` is an output of some graphs only.
        return {name: result.cpu().numpy() for name, result in zip(_OUTPUTS, results, strict=False)}


def _bind(module: torch.jit.ScriptModule, device: torch.device) -> None:
    """Makes tensors on this device that the graph would make on the CPU: a trace keeps the device it was made on."""
    part: Any
    for part in module.modules():
        if not part._c._has_method("forward"):  # lists of layers, for instance
            continue
        for node in part.graph.findAllNodes("prim::Constant"):
            if node.output().type().kind() == "DeviceObjType":
                node.s_("value", str(device))


def _pack_weights(module: torch.jit.ScriptModule) -> None:
    """Puts the weights of linear layers into oneDNN's own layout, once, instead of at every product."""
    for layer in module.modules():
        kind = getattr(layer, "original_name", "")
        weight: Any = getattr(layer, "weight", None)
        if kind == "PackedLinear" and _can_pack(weight.dtype):
            layer.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        elif kind == "Int8Linear" and torch.cpu._is_vnni_supported():
            layer.weight = torch.ops.onednn.qlinear_prepack(weight.detach(), None)


def _can_pack(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _keep_freed_memory() -> None:
    """Keeps activations' memory inside the process.

    By default glibc gives every large block back to the system when it is freed, and asks for it, page by page, in the
    next layer: a seventh of a run's time.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h  # noqa: N806
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
