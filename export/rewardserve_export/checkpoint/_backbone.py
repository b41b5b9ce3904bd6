"""The backbone, loaded by transformers and checked: every weight of it, and none left over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from rewardserve._errors import CheckpointError, UnsupportedModelError
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rewardserve_export.checkpoint._config_guard import bounded_size
from rewardserve_export.checkpoint._files import CheckpointFiles
from rewardserve_export.checkpoint._mapped import KEPT_DTYPES, with_stored_dtypes

__all__ = ["load_backbone", "load_pretrained", "quiet", "shown"]

# Output layers of language models, kept by most tools: a reward needs none.
_OUTPUT_LAYERS = ("lm_head.", "embed_out.")
# Heads of other formats may stay behind where the caller has named one.
_HEADS = ("score.", "value_head.", "v_head.")

_SHOWN = 5


def load_backbone(files: CheckpointFiles, prefix: str, head_keys: set[str], *, mapped: bool = False) -> PreTrainedModel:
    """The backbone of a checkpoint that isn't an adapter, float32 unless mapped.

    Args:
        files: The checkpoint.
        prefix: What its trainer put before transformers' own keys.
        head_keys: The value head's: they belong to no backbone.
        mapped: See `load_pretrained`.

    Raises:
        CheckpointError: Weights are missing, surplus, or of the wrong shape.
        UnsupportedModelError: transformers can't load the architecture.
    """
    return load_pretrained(AutoModel, files, prefix=prefix, head_keys=head_keys, mapped=mapped)


def load_pretrained(
    auto_class: Any,
    files: CheckpointFiles,
    *,
    prefix: str = "",
    head_keys: set[str],
    whole: bool = False,
    mapped: bool = False,
    **options: Any,
) -> PreTrainedModel:
    """A checkpoint in one of transformers' auto classes, its backbone checked.

    Args:
        auto_class: For instance `AutoModel`.
        files: The checkpoint.
        prefix: What its trainer put before transformers' own keys.
        head_keys: The value head's.
        whole: Whether the model's own head counts, too, not only its backbone.
        mapped: Whether weights stay in their files, and in their data types, where transformers doesn't change them.
            Not together with options.
        options: Of `from_pretrained`.

    Raises:
        CheckpointError: Weights of the backbone are missing, surplus, or of the wrong shape.
        UnsupportedModelError: transformers can't load the architecture.
    """
    options |= {
        "dtype": torch.float32,
        "output_loading_info": True,
        # Else the first such weight would end the loading; they are all reported below.
        "ignore_mismatched_sizes": True,
    }
    try:
        with quiet(), bounded_size(files.weights.parameters, len(files.weights.tensors)):
            if mapped or prefix:
                model, report = _from_class(auto_class, files, prefix, options, mapped)
            else:
                # Without trust_remote_code, transformers asks at the terminal.
                model, report = auto_class.from_pretrained(
                    files.directory, local_files_only=True, trust_remote_code=False, **options
                )
    except Exception as error:  # transformers raises many classes here, those of config validation included
        raise _cannot_load(files, error) from error
    _check_report(files, model, report, head_keys, whole)
    _check_dtypes(files, model, KEPT_DTYPES if mapped else (torch.float32,))
    return cast(PreTrainedModel, model)


def _from_class(
    auto_class: Any, files: CheckpointFiles, prefix: str, options: dict[str, Any], mapped: bool
) -> tuple[Any, dict[str, Any]]:
    """By the class that an auto class chooses, so that keys and data types can be set before it loads anything."""
    config = AutoConfig.from_pretrained(files.directory, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model_class = type(auto_class.from_config(config, trust_remote_code=False))
    loading_class = with_stored_dtypes(model_class, files.weights, prefix) if mapped else model_class
    source: dict[str, Any] = {"pretrained_model_name_or_path": files.directory, "local_files_only": True}
    if prefix:
        # Taken off, so that transformers sees, and converts, the keys it knows.
        tensors = {key.removeprefix(prefix): tensor for key, tensor in files.weights.read_all().items()}
        source = {"pretrained_model_name_or_path": None, "state_dict": tensors}
    model, report = loading_class.from_pretrained(config=config, **source, **options)
    model.__class__ = model_class
    return model, report


def _cannot_load(files: CheckpointFiles, error: Exception) -> UnsupportedModelError:
    if quantization := files.config.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        return UnsupportedModelError(
            f"{files.directory} is quantised ({method}: quantization_config in config.json), and can't be loaded in "
            f"float32 here: {error}. Remedy: use the model it was quantised from (for an adapter: --base)"
        )
    return UnsupportedModelError(
        f"transformers can't load {files.directory} as {files.config.get('model_type')!r}: {error}"
    )


def _check_report(files: CheckpointFiles, model: Any, report: dict[str, Any], head_keys: set[str], whole: bool) -> None:
    """Unless the whole model counts, output layers and heads that transformers made up don't reach the reward."""
    inside = "" if whole or model.base_model is model else f"{model.base_model_prefix}."
    expected = _OUTPUT_LAYERS + (_HEADS if files.value_head_prefix else ())
    problems = {
        "missing": [key for key in report["missing_keys"] if key.startswith(inside)],
        "surplus": [key for key in report["unexpected_keys"] if key not in head_keys and not key.startswith(expected)],
        "of another shape": [str(key) for key, *_ in report["mismatched_keys"] if str(key).startswith(inside)],
    }
    for kind, keys in problems.items():
        if keys:
            raise CheckpointError(
                f"{_where(files, keys)}: {len(keys)} weights of {type(model).__name__} are {kind}: {shown(keys)}. "
                "Remedy: copy the checkpoint again, whole; or check that config.json belongs to these weights"
            )


def _where(files: CheckpointFiles, keys: list[str]) -> str:
    """The one file that holds these weights or should, else the directory."""
    stored = {tensor.file for key, tensor in files.weights.tensors.items() if key in keys} or set(files.weights.files)
    return str(stored.pop() if len(stored) == 1 else files.directory)


def _check_dtypes(files: CheckpointFiles, model: Any, allowed: Sequence[torch.dtype]) -> None:
    for key, parameter in model.named_parameters():
        if parameter.dtype not in allowed:
            raise UnsupportedModelError(
                f"{files.directory}: {key} stays {parameter.dtype} after loading, quantised. "
                "Remedy: use the model it was quantised from (for an adapter: --base)"
            )


def shown(keys: list[str]) -> str:
    """The first few keys in alphabetical order, and how many more."""
    rest = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(sorted(keys)[:_SHOWN]) + rest


@contextmanager
def quiet() -> Iterator[None]:
    """Silences a progress bar and a load report, in which the value head is "unexpected"."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
