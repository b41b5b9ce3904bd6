"""The weight files of a checkpoint: which tensor lies where, read only when asked for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rewardserve._errors import CheckpointError
from safetensors import SafetensorError, safe_open

from rewardserve_export.checkpoint._json import read_object

__all__ = ["ADAPTER", "MODEL", "VALUE_HEAD", "StoredTensor", "WeightFiles"]

# In the order in which transformers and peft look: the head must come from the files that the backbone comes from.
MODEL = ("model.safetensors", "pytorch_model.bin")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
VALUE_HEAD = ("value_head.safetensors", "value_head.bin")

_INDEX = ".index.json"

_MAX_HEADER_BYTES = 16 << 20
"""Of a safetensors file: over 100,000 tensors, hundreds of megabytes once read."""
_LONGEST_NAME = 255
"""Characters that a file's name can have."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """One tensor of a checkpoint.

    Attributes:
        file: Where it lies.
        shape: Its dimensions.
        dtype: As written in the file, for instance `BF16`.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


class WeightFiles:
    """All tensors of one kind in a directory: one safetensors or `.bin` file, or several with an index; or none.

    Args:
        directory: The checkpoint.
        names: Of the files, the preferred one first.

    Raises:
        CheckpointError: A file is missing, truncated or malformed.
    """

    def __init__(self, directory: Path, names: Sequence[str] = MODEL) -> None:
        self.files = _find_files(directory, names)
        self.tensors: dict[str, StoredTensor] = {}
        for file in self.files:
            for key, tensor in _list_tensors(file).items():
                if key in self.tensors:
                    raise CheckpointError(
                        f"{key} is in {self.tensors[key].file.name} and in {file.name}: keep one of them"
                    )
                self.tensors[key] = tensor

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def read(self, key: str) -> torch.Tensor:
        """Reads one tensor.

        Raises:
            CheckpointError: It can't be read.
        """
        file = self.tensors[key].file
        if file.suffix != ".safetensors":
            return _load_bin(file)[key]
        with _open_safetensors(file) as tensors:
            return _get(tensors, file, key)

    def read_all(self) -> dict[str, torch.Tensor]:
        """Reads every tensor; those of `.bin` files stay mapped, not copied.

        Raises:
            CheckpointError: One can't be read.
        """
        tensors: dict[str, torch.Tensor] = {}
        for file in self.files:
            if file.suffix != ".safetensors":
                tensors |= _load_bin(file)
                continue
            with _open_safetensors(file) as stored:
                tensors |= {key: _get(stored, file, key) for key in stored.keys()}  # noqa: SIM118 - not a dict
        return tensors


def _find_files(directory: Path, names: Sequence[str]) -> list[Path]:
    for file in (directory / (name + suffix) for name in names for suffix in ("", _INDEX)):
        if file.is_file():
            return _indexed_files(file) if file.name.endswith(_INDEX) else [file]
    return []


def _indexed_files(index: Path) -> list[Path]:
    try:
        names = sorted(set(read_object(index)["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{index} isn't an index of weight files ({error!r}). Remedy: copy the checkpoint again"
        ) from error
    for name in names:
        # An index from a stranger must not reach outside its directory.
        if not isinstance(name, str) or Path(name).name != name or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{index} names {name!r:.100}, which isn't a file beside it. Remedy: don't use this checkpoint"
            )
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names {name}, which is missing. Remedy: copy the checkpoint again, whole")
    return [index.parent / name for name in names]


def _list_tensors(file: Path) -> dict[str, StoredTensor]:
    if file.suffix != ".safetensors":
        return {
            key: StoredTensor(file=file, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
            for key, tensor in _load_bin(file).items()
        }
    with _open_safetensors(file) as tensors:
        slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118 - not a dict
        return {
            key: StoredTensor(file=file, shape=tuple(part.get_shape()), dtype=part.get_dtype())
            for key, part in slices.items()
        }


def _open_safetensors(file: Path) -> safe_open:
    try:
        _refuse_huge_header(file)
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError, MemoryError) as error:
        raise CheckpointError(
            f"{file} can't be read ({error}). Remedy: it is truncated or damaged, copy it again"
        ) from error


def _refuse_huge_header(file: Path) -> None:
    """What is longer than its file, the library refuses."""
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if _MAX_HEADER_BYTES < header < file.stat().st_size:
        raise CheckpointError(
            f"{file} can't be read (its header has {header:,} bytes, more than {_MAX_HEADER_BYTES:,}). "
            "Remedy: save it in shards; no trainer writes such a header"
        )


def _get(tensors: Any, file: Path, key: str) -> torch.Tensor:
    try:
        tensor: torch.Tensor = tensors.get_tensor(key)
    except Exception as error:  # shapes and data types that torch hasn't are of several classes
        raise CheckpointError(f"{key} in {file} can't be read ({error}). Remedy: save it as a plain tensor") from error
    return tensor


def _load_bin(file: Path) -> dict[str, torch.Tensor]:
    """Without `weights_only`, a .bin file from a stranger would run its code."""
    zipped = zipfile.is_zipfile(file)
    try:
        if zipped:
            _refuse_compression(file)
        # Files of torch before 1.6 aren't zip files, and can't be mapped.
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises a different class for every kind of damage
        # torch goes on to say how to run the file's code.
        reason = (str(error).partition("WeightsUnpickler error: ")[2] or str(error)).partition(". ")[0].strip()
        raise CheckpointError(
            f"{file} can't be read as plain tensors ({reason}): it is damaged, or holds code. "
            "Remedy: copy it again, or save it as safetensors"
        ) from error
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{file} holds no named tensors. Remedy: save the model's state dict")
    found = {key: tensor for key, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
    for key, tensor in found.items():
        if not isinstance(key, str) or not _is_stored(tensor):
            raise CheckpointError(
                f"{key} in {file} isn't a plain tensor, stored whole (it is sparse, expanded, or has no data). "
                "Remedy: save the model's state dict, on the CPU and contiguous"
            )
    return found


def _refuse_compression(file: Path) -> None:
    """PyTorch compresses nothing. What is compressed may be any size, and when mapped isn't even unpacked."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is a compressed zip file")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise ValueError("its entries are larger than the file")


def _is_stored(tensor: torch.Tensor) -> bool:
    """Whether each of its numbers has a place of its own in the file."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
