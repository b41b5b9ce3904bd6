"""The files of a checkpoint: its own, its adapter's and its base's, before anyone asks who wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._errors import CheckpointError

from rewardserve_export.checkpoint._config_guard import check_config
from rewardserve_export.checkpoint._json import check_sizes, read_object
from rewardserve_export.checkpoint._weights import ADAPTER, VALUE_HEAD, WeightFiles

__all__ = ["Adapter", "CheckpointFiles", "read_files"]

_HUB_FILES = ["*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A PEFT adapter and what it was trained on.

    Attributes:
        config: Its `adapter_config.json`.
        weights: Its tensors.
        base: The checkpoint that it is merged into.
    """

    config: dict[str, Any]
    weights: WeightFiles
    base: CheckpointFiles


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """What lies in a checkpoint's directory.

    Attributes:
        directory: Where it lies.
        config: Its `config.json`; empty where an adapter has none.
        weights: Its model weights; empty where an adapter has none.
        value_heads: Heads in files of their own, beside the model.
        adapter: Its adapter, or None.
        value_head_prefix: Name of the head as the caller gave it, or None.
    """

    directory: Path
    config: dict[str, Any]
    weights: WeightFiles
    value_heads: tuple[WeightFiles, ...]
    adapter: Adapter | None
    value_head_prefix: str | None

    @property
    def model(self) -> CheckpointFiles:
        """Whose config and weights the backbone is made from: the adapter's base, or this checkpoint."""
        return self.adapter.base if self.adapter else self

    @property
    def architectures(self) -> list[str]:
        """As `config.json` names them."""
        return [str(name) for name in self.config.get("architectures") or []]

    @property
    def stores(self) -> list[WeightFiles]:
        """Everything that holds tensors, the most specific first."""
        adapter = [self.adapter.weights, self.adapter.base.weights] if self.adapter else []
        return [*self.value_heads, self.weights, *adapter]

    def read_paths(self) -> Iterator[tuple[str, Path]]:
        """(role, file) of everything that the rewards depend on, in an order that doesn't depend on where it lies."""
        names = [self.directory / "config.json"]
        stores = [self.weights, *self.value_heads]
        if self.adapter:
            names.append(self.directory / "adapter_config.json")
            stores.append(self.adapter.weights)
        files = [*(name for name in names if name.is_file()), *(file for store in stores for file in store.files)]
        yield from (("", file) for file in sorted(files, key=lambda file: file.name))
        if self.adapter:
            yield from (("base/", file) for _, file in self.adapter.base.read_paths())


def read_files(
    source: str | Path, *, base: str | Path | None = None, value_head_prefix: str | None = None
) -> CheckpointFiles:
    """Lists what a checkpoint, its adapter and its base hold; reads no weight.

    Args:
        source: A directory, or the name of a repository on the Hugging Face Hub.
        base: What an adapter was trained on, where `adapter_config.json` doesn't say or has moved.
        value_head_prefix: Name of the head.

    Raises:
        CheckpointError: Files are missing or malformed, or the base isn't found.
    """
    directory = _local_directory(source)
    check_sizes(directory)
    has_adapter = (directory / "adapter_config.json").is_file()
    if base is not None and not has_adapter:
        raise CheckpointError(
            f"{directory} isn't an adapter (it has no adapter_config.json), so base {base} has no use. "
            "Remedy: leave it out"
        )
    config = _read_config(directory) if not has_adapter or (directory / "config.json").is_file() else {}
    weights = WeightFiles(directory)
    if not has_adapter and not weights.files:
        raise CheckpointError(
            f"{directory} holds no weights (model.safetensors, pytorch_model.bin, or an index of shards). "
            "Remedy: pass the directory that `save_pretrained` or the trainer wrote"
        )
    return CheckpointFiles(
        directory=directory,
        config=config,
        weights=weights,
        value_heads=tuple(WeightFiles(directory, [name]) for name in VALUE_HEAD if (directory / name).is_file()),
        adapter=_read_adapter(directory, base) if has_adapter else None,
        value_head_prefix=value_head_prefix,
    )


def _read_config(directory: Path) -> dict[str, Any]:
    config = read_object(directory / "config.json")
    if config.get("transformers_weights") is not None:
        raise CheckpointError(
            f"{directory / 'config.json'} names its weights itself (transformers_weights), so the head could be read "
            "from other files than the backbone. Remedy: rename the weights to what save_pretrained writes, and remove "
            "that entry"
        )
    check_config(directory / "config.json", config)
    return config


def _read_adapter(directory: Path, base: str | Path | None) -> Adapter:
    config = read_object(directory / "adapter_config.json")
    weights = WeightFiles(directory, ADAPTER)
    if not weights.files:
        raise CheckpointError(
            f"{directory} has an adapter_config.json, but no {' or '.join(ADAPTER)}. "
            "Remedy: copy the checkpoint again, whole"
        )
    found = _find_base(directory, config, base)
    if (found / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{found}, the base of adapter {directory}, is an adapter itself. "
            "Remedy: merge it (peft's merge_and_unload), and pass the result as base"
        )
    return Adapter(config=config, weights=weights, base=read_files(found))


def _find_base(directory: Path, config: dict[str, Any], base: str | Path | None) -> Path:
    named = config.get("base_model_name_or_path")
    places = f"base_model_name_or_path in {directory / 'adapter_config.json'} is {named!r}; the base given is {base}"
    remedy = "Remedy: pass the model that the adapter was trained on as base (--base): a directory, or its hub name"
    source = base if base is not None else named
    if not isinstance(source, str | Path) or not str(source):
        raise CheckpointError(f"the adapter doesn't say what it was trained on: {places}. {remedy}")
    try:
        return _local_directory(source, revision=None if base is not None else config.get("revision"))
    except CheckpointError as error:
        reason = str(error).partition(" Remedy: ")[0]
        raise CheckpointError(f"the adapter's base isn't found: {places}. {reason} {remedy}") from error


def _local_directory(source: str | Path, revision: str | None = None) -> Path:
    """A checkpoint's directory, fetched from the hub where it is a name there.

    Raises:
        CheckpointError: It is neither.
    """
    directory = Path(source)
    if directory.is_dir():
        return directory
    if directory.exists() or str(source).count("/") != 1:
        raise CheckpointError(f"{source} isn't a directory. Remedy: pass the directory of a checkpoint, or a hub name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{source} isn't a directory, and can't be had from the hub ({error}). "
            "Remedy: check the name, and your network and token"
        ) from error
