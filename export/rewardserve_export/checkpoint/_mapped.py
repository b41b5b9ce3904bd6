"""Weights that stay in the checkpoint's files: mapped into memory, in the data type they are stored in.

A page of a mapped file is read when it is touched, and can be given back at any time, so a model of any size costs next
to nothing. Its arithmetic is still float32: see `_arithmetic.py`.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rewardserve_export.checkpoint._weights import WeightFiles

__all__ = ["KEPT_DTYPES", "pages_released", "with_stored_dtypes"]

KEPT_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""Each of their numbers is a float32 number. Weights stored in another type are converted while they are loaded."""

_NAMES = {"BF16": torch.bfloat16, "bfloat16": torch.bfloat16, "F16": torch.float16, "float16": torch.float16}
"""As safetensors and `.bin` files name them."""

_MAPS = Path("/proc/self/maps")

_RELEASE_EVERY = 0.05
"""Seconds: at some GB/s that weights are read at, some hundred MB."""


def with_stored_dtypes(model_class: Any, weights: WeightFiles, prefix: str) -> Any:
    """A subclass of a transformers model whose empty parameters have the data types of the stored ones.

    `from_pretrained` loads a tensor into the type of its parameter, and one that needs no conversion is used in place.
    Parameters that aren't stored under their own name, such as fused ones, are float32 and loaded into memory.

    Args:
        model_class: Of the model.
        weights: That it will be given.
        prefix: What its trainer put before transformers' own keys.
    """
    stored = {
        key.removeprefix(prefix): _NAMES[tensor.dtype]
        for key, tensor in weights.tensors.items()
        if tensor.dtype in _NAMES
    }

    def create(self: Any, *args: Any, **options: Any) -> None:
        model_class.__init__(self, *args, **options)
        for name, parameter in self.named_parameters():
            if dtype := _stored_dtype(name, self.base_model_prefix, stored):
                parameter.data = parameter.data.to(dtype)

    return type(model_class.__name__, (model_class,), {"__init__": create, "__module__": model_class.__module__})


def _stored_dtype(name: str, base: str, stored: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """Where transformers adds a bare backbone's prefix, or takes it off, it is the same parameter."""
    names = (name, f"{base}.{name}", name.removeprefix(f"{base}."))
    return next((stored[key] for key in names if key in stored), None)


@contextmanager
def pages_released(files: Iterable[Path]) -> Iterator[None]:
    """Keeps mapped files from filling this process's memory.

    Pages that were read stay until the system needs them, and until then they count as this process's. Here they are
    given back every now and then; the file and the system's cache of it keep them, and the next access maps them again.

    Args:
        files: Mapped already, and for as long as the block lasts; nothing may write to the mappings. Others, and
            systems that don't list mappings, do no harm.
    """
    ranges = _mappings({str(file.resolve()) for file in files})
    if not ranges:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_release, args=(ranges, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _mappings(paths: set[str]) -> list[tuple[int, int]]:
    """(address, length) of every mapping of these files."""
    if not _MAPS.is_file():
        return []
    lines = (line.split(maxsplit=5) for line in _MAPS.read_text().splitlines())
    bounds = (line[0].split("-") for line in lines if len(line) == 6 and line[5] in paths)
    return [(int(first, 16), int(last, 16) - int(first, 16)) for first, last in bounds]


def _release(ranges: list[tuple[int, int]], done: threading.Event) -> None:
    advise = ctypes.CDLL(None).madvise
    while not done.wait(_RELEASE_EVERY):
        for address, length in ranges:
            advise(ctypes.c_void_p(address), ctypes.c_size_t(length), mmap.MADV_DONTNEED)
