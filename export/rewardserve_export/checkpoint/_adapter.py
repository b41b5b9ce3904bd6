"""Adapters, merged into their base by the peft library."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, cast

from rewardserve._errors import CheckpointError, MissingExtraError, UnsupportedModelError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from rewardserve_export.checkpoint._adapter_patterns import check_patterns
from rewardserve_export.checkpoint._backbone import load_pretrained, quiet, shown
from rewardserve_export.checkpoint._files import Adapter, CheckpointFiles
from rewardserve_export.checkpoint._value_head import ADAPTER_PREFIX
from rewardserve_export.checkpoint.formats import Contents

__all__ = ["load_merged"]

_HEADS = ("score.", "value_head.", "v_head.")


def load_merged(files: CheckpointFiles, contents: Contents) -> PreTrainedModel:
    """The adapter's base with the adapter merged into it, float32; its backbone is `.base_model`.

    Args:
        files: An adapter's.
        contents: What its format made of them.

    Raises:
        CheckpointError: Adapter or base lack weights, or don't fit each other.
        MissingExtraError: peft isn't installed.
        UnsupportedModelError: transformers can't load the base, or the adapter isn't LoRA.
    """
    adapter = files.adapter
    assert adapter is not None
    peft = _require_peft()
    kind = adapter.config.get("peft_type")
    if kind != "LORA":
        raise UnsupportedModelError(
            f"{files.directory / 'adapter_config.json'} has peft_type {kind}: only LORA is merged. "
            "Remedy: merge it with peft, save the result with its head, and export that"
        )
    check_patterns(files.directory / "adapter_config.json", adapter.config)
    base = _load_base(adapter, contents)
    with quiet(), warnings.catch_warnings():
        # peft asks transformers by names that transformers deprecates: nothing that a user could mend.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            wrapped = peft.PeftModel(base, _peft_config(peft, files, adapter), "default")
            result = wrapped.load_adapter(str(files.directory), "default", torch_device="cpu")
        except Exception as error:  # a mismatch is a RuntimeError, an unknown option a TypeError, and more
            reason = " ".join(str(error).split()).rstrip(".")
            raise CheckpointError(
                f"{adapter.weights.files[0]} doesn't fit its base {adapter.base.directory}: {reason}. "
                "Remedy: pass the base that the adapter was trained on (--base)"
            ) from error
        _check_result(adapter, contents, result)
        return cast(PreTrainedModel, wrapped.merge_and_unload())


def _require_peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name or "peft") from error


def _load_base(adapter: Adapter, contents: Contents) -> PreTrainedModel:
    # The base may have a head of its own: it is the reward's, or the adapter brings a newer one.
    heads = {key for key in adapter.base.weights.tensors if key.startswith(_HEADS)}
    if contents.base_class == "causal language model":
        return load_pretrained(AutoModelForCausalLM, adapter.base, head_keys=heads)
    outputs = contents.head.outputs
    return load_pretrained(AutoModelForSequenceClassification, adapter.base, head_keys=heads, num_labels=outputs)


def _peft_config(peft: Any, files: CheckpointFiles, adapter: Adapter) -> Any:
    config = peft.PeftConfig.from_pretrained(str(files.directory))
    config.inference_mode = True
    # A task adds modules to save and wants a generation method: neither matters here, and a head that wasn't saved
    # is the value-head rule's business.
    config.task_type = None
    saved = [
        name
        for name in config.modules_to_save or []
        if any(f".{name}." in key.removeprefix(ADAPTER_PREFIX[:-1]) for key in adapter.weights.tensors)
    ]
    config.modules_to_save = saved or None
    return config


def _check_result(adapter: Adapter, contents: Contents, result: Any) -> None:
    surplus = [key for key in result.unexpected_keys if key not in contents.head.keys]
    for kind, keys in (("missing", list(result.missing_keys)), ("surplus", surplus)):
        if keys:
            raise CheckpointError(
                f"{adapter.weights.files[0]}: {len(keys)} weights of the adapter are {kind}: {shown(keys)}. "
                f"Remedy: copy the adapter again, whole; or check that {adapter.base.directory} is its base (--base)"
            )
