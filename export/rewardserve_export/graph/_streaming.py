"""Weights of a graph that are written straight from where they lie, converted chunk by chunk.

A model is traced with stand-ins: parameters that have a shape and a data type, and no contents. Behind the trace the
graph's initializers refer to the model's own parameters, whose contents are read while the file is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, from_torch_dtype, to_torch_dtype
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from rewardserve_export.checkpoint import chunks

__all__ = ["StreamedWeight", "fold_transposes", "refer_to_weights", "stand_ins"]

_CHUNK = 64 << 20
"""Bytes of a weight in memory at once: large enough for the disk, small against a tensor."""


class StreamedWeight(onnx_ir.LazyTensor):
    """A parameter as an initializer, converted when it is read.

    Args:
        parameter: Where the numbers are.
        dtype: To convert them to.
        axes: The initializer's axes are these ones of the parameter.
        name: Of the initializer.
    """

    def __init__(self, parameter: Tensor, dtype: torch.dtype, axes: tuple[int, ...], name: str | None) -> None:
        self._parameter, self._torch_dtype, self._axes = parameter, dtype, axes
        self._view = parameter.detach().permute(axes)
        super().__init__(
            lambda: TorchTensor(self._converted(self._view)),
            from_torch_dtype(dtype),
            onnx_ir.Shape(self._view.shape),
            name=name,
        )

    def transposed(self, permutation: list[int]) -> StreamedWeight:
        """The same weight with its axes in another order."""
        axes = tuple(self._axes[axis] for axis in permutation)
        return StreamedWeight(self._parameter, self._torch_dtype, axes, self.name)

    def tofile(self, file: Any) -> None:
        """Writes it chunk by chunk."""
        if self._view.ndim == 0:
            super().tofile(file)
            return
        for rows in chunks(self._view, self._torch_dtype, _CHUNK):
            TorchTensor(self._converted(self._view[rows])).tofile(file)

    def _converted(self, part: Tensor) -> Tensor:
        if part.is_contiguous():
            return part.to(self._torch_dtype)
        # A copy that keeps the order of the axes, and then one that changes it, is several times faster than one.
        return part.to(self._torch_dtype, copy=True).contiguous()


@contextmanager
def stand_ins(module: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Replaces a module's floating-point parameters for a while by empty ones of a data type."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    made: dict[nn.Parameter, nn.Parameter] = {}
    replaced = []
    try:
        for owner in module.modules():
            for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
                if not parameter.is_floating_point():
                    continue
                if parameter not in made:
                    with mode:
                        empty = torch.empty(parameter.shape, dtype=dtype)
                    made[parameter] = nn.Parameter(empty, requires_grad=False)
                replaced.append((owner, name, parameter))
                owner.register_parameter(name, made[parameter])
        yield
    finally:
        for owner, name, parameter in replaced:
            owner.register_parameter(name, parameter)


def refer_to_weights(graph: onnx_ir.Model, module: nn.Module) -> None:
    """Gives initializers that were traced from stand-ins the contents of the module's parameters.

    Args:
        graph: Just traced: its initializers have the names that the parameters have in the module.
        module: As it was traced.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, value in graph.graph.initializers.items():
        if name in parameters and value.dtype is not None and parameters[name].is_floating_point():
            axes = tuple(range(parameters[name].ndim))
            value.const_value = StreamedWeight(parameters[name], to_torch_dtype(value.dtype), axes, name)


def fold_transposes(graph: onnx_ir.Model) -> None:
    """Transposes weights in the file instead of at run time, where nothing else uses them."""
    for value in list(graph.graph.initializers.values()):
        weight, consumers = value.const_value, value.consumers()
        if not isinstance(weight, StreamedWeight) or len(consumers) != 1 or consumers[0].op_type != "Transpose":
            continue
        (node,) = consumers
        permutation = node.attributes.get_ints("perm", list(reversed(range(len(weight.shape)))))
        assert permutation is not None
        value.const_value = weight.transposed(list(permutation))
        value.shape = value.const_value.shape
        onnx_ir.convenience.replace_all_uses_with(node.outputs[0], value)
        graph.graph.remove(node, safe=True)
