"""What a `config.json` from a stranger may not ask of transformers: to run code, or to build what nobody trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewardserve._errors import CheckpointError
from torch.nn.modules import module as torch_module

__all__ = ["bounded_size", "check_config"]

_KINDS = {"architectures": list, "id2label": dict, "num_labels": int}
"""Of what is read here; transformers checks the rest."""

_MOST = 100_000
"""Layers, and outputs: transformers makes a list of each before any weight is looked at."""

_MOST_TIMES = 8
"""How many numbers a model may have for each that is stored: packed quantised weights hold several."""

_FREE_NUMBERS, _FREE_TENSORS = 1 << 23, 10_000
"""No burden, whatever is stored."""


def check_config(file: Path, config: dict[str, Any]) -> None:
    """Refuses what would cost memory or run code while transformers reads it.

    Args:
        file: The `config.json`.
        config: Its content; that of its parts is checked, too.

    Raises:
        CheckpointError: It asks for code from the hub, or for absurd numbers of layers or outputs; or an entry is of
            another kind than it must be.
    """
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind | None):
            raise CheckpointError(
                f"{file} has {name} {config[name]!r:.80}, which isn't a {kind.__name__}. "
                "Remedy: copy the checkpoint again"
            )
    for name, value in _entries(config):
        # transformers takes a name with a slash for a repository of kernels, and runs what is in it.
        if name.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise CheckpointError(
                f"{file} names code to run ({name}: {value!r}). Remedy: remove the entry; rewardserve has its own"
            )
        if not isinstance(value, int) or not ("layer" in name or name == "num_labels"):
            continue
        if abs(value) > _MOST:
            raise CheckpointError(f"{file} has {name} {value}. Remedy: don't use this checkpoint")


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        yield name, value
        if isinstance(value, dict):
            yield from _entries(value)


@contextmanager
def bounded_size(numbers: int, tensors: int) -> Iterator[None]:
    """Ends the building of a model that is out of all proportion to the weights that it is built for.

    transformers builds what config.json says, and makes up what isn't stored. Counted are the parameters and buffers of
    every module that is made meanwhile.

    Args:
        numbers: That are stored.
        tensors: That they are in.
    """
    left_numbers, left_tensors = _FREE_NUMBERS + _MOST_TIMES * numbers, _FREE_TENSORS + _MOST_TIMES * tensors

    def count(owner: Any, name: str, tensor: Any) -> None:
        nonlocal left_numbers, left_tensors
        left_numbers -= 0 if tensor is None else tensor.numel()
        left_tensors -= 1
        if left_numbers < 0 or left_tensors < 0:
            raise ValueError(
                f"config.json describes a model much larger than the {numbers:,} numbers stored (at {name} of a "
                f"{type(owner).__name__})"
            )

    hooks = (
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
