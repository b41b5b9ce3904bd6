"""Checkpoints that can't be read are refused, by an error that names the cause."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rewardserve import CheckpointError, RewardServeError, UnsupportedModelError
from rewardserve_export import inspect_checkpoint
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from safetensors.torch import load_file
from support.checkpoints import edit_config, edit_tensors, save_huggingface, save_openrlhf


def truncate(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def cut_header(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\x00\x01")


def write_index(checkpoint: Path, weight_map: object) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00001.safetensors")
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def index_outside(checkpoint: Path) -> None:
    load_file(checkpoint / "model.safetensors")
    (checkpoint.parent / "outside.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    write_index(checkpoint, {"score.weight": "../outside.safetensors"})


def index_absolute(checkpoint: Path) -> None:
    (checkpoint.parent / "outside.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    write_index(checkpoint, {"score.weight": str(checkpoint.parent / "outside.safetensors")})


def text_index(checkpoint: Path) -> None:
    write_index(checkpoint, {})
    (checkpoint / "model.safetensors.index.json").write_text("{]")


def same_tensor_twice(checkpoint: Path) -> None:
    write_index(checkpoint, {"a": "a.safetensors", "b": "b.safetensors"})
    content = (checkpoint / "model-00001-of-00001.safetensors").read_bytes()
    for name in ("a", "b"):
        (checkpoint / f"{name}.safetensors").write_bytes(content)


def no_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def garbage_bin(checkpoint: Path) -> None:
    no_weights(checkpoint)
    (checkpoint / "pytorch_model.bin").write_bytes(b"no weights at all")


def list_bin(checkpoint: Path) -> None:
    no_weights(checkpoint)
    torch.save([torch.zeros(1)], checkpoint / "pytorch_model.bin")


def no_tokenizer(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()


def two_heads(checkpoint: Path) -> None:
    edit_config(checkpoint, architectures=["RewardModel"])
    edit_tensors(checkpoint, {}, {"value_head.weight": torch.zeros(1, 32)})


OPENING: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"model\.safetensors can't be read .*truncated or damaged"),
    "no header": (cut_header, r"model\.safetensors can't be read"),
    "shard missing": (
        lambda path: write_index(path, {"score.weight": "model-00002-of-00002.safetensors"}),
        r"names model-00002-of-00002\.safetensors, which is missing",
    ),
    "index outside": (index_outside, r"names '\.\./outside\.safetensors', which isn't a file beside it"),
    "index absolute": (index_absolute, "which isn't a file beside it"),
    "index to the parent": (lambda path: write_index(path, {"score.weight": ".."}), "is missing"),
    "index with numbers": (lambda path: write_index(path, {"score.weight": 5}), "names 5, which isn't a file"),
    "index with lists": (lambda path: write_index(path, {"score.weight": []}), "isn't an index of weight files"),
    "index of a list": (lambda path: write_index(path, []), "isn't an index of weight files"),
    "index not JSON": (text_index, r"model\.safetensors\.index\.json isn't JSON"),
    "same tensor twice": (same_tensor_twice, r"is in a\.safetensors and in b\.safetensors"),
    "no weights": (no_weights, r"holds no weights \(model\.safetensors, pytorch_model\.bin"),
    "garbage .bin": (garbage_bin, r"pytorch_model\.bin can't be read as plain tensors"),
    ".bin of a list": (list_bin, r"pytorch_model\.bin holds no named tensors"),
    "no config": (lambda path: (path / "config.json").unlink(), r"has no config\.json"),
    "config not JSON": (lambda path: (path / "config.json").write_text("{]"), r"config\.json isn't JSON"),
    "config not text": (lambda path: (path / "config.json").write_bytes(b"\xff\xfe"), r"config\.json isn't JSON"),
    "config of a list": (lambda path: (path / "config.json").write_text("[]"), r"config\.json isn't a JSON object"),
    "language model": (
        lambda path: edit_config(path, architectures=["LlamaForCausalLM"]),
        "architectures .'LlamaForCausalLM'.*pass a reward model",
    ),
    "no architecture": (lambda path: edit_config(path, architectures=None), r"architectures \[\]"),
    "weights by another name": (
        lambda path: edit_config(path, transformers_weights="other.safetensors"),
        r"names its weights itself \(transformers_weights\)",
    ),
    "no tokenizer": (no_tokenizer, "has no tokenizer that can be read"),
    "two heads": (two_heads, r"several value heads: score\.weight, value_head\.weight"),
}


@pytest.mark.parametrize("damage", OPENING)
def test_damage_is_found_before_any_weight_is_loaded(damage: str, tmp_path: Path) -> None:
    spoil, message = OPENING[damage]
    checkpoint = save_huggingface(tmp_path / "checkpoint")
    inspect_checkpoint(checkpoint)
    spoil(checkpoint)
    with pytest.raises(CheckpointError, match=message) as raised:
        inspect_checkpoint(checkpoint)
    assert "Remedy: " in str(raised.value) or "keep one" in str(raised.value)


def bad_head(tensor: torch.Tensor) -> Callable[[Path], None]:
    return lambda checkpoint: edit_tensors(checkpoint, {}, {"score.weight": tensor})


def with_one(value: float) -> torch.Tensor:
    tensor = torch.zeros(1, 32)
    tensor[0, 7] = value
    return tensor


LAYER = "model.layers.1.mlp.up_proj.weight"
LOADING: dict[str, tuple[Callable[[Path], object], str]] = {
    "head with two rows": (bad_head(torch.zeros(2, 32)), r"score\.weight.*shape \[2, 32\].*\[1, 32\].*num_labels=1"),
    "head of another width": (bad_head(torch.zeros(1, 16)), r"shape \[1, 16\].*has \[1, 32\]"),
    "head with NaN": (bad_head(with_one(float("nan"))), "score.weight.*holds NaN or infinity"),
    "head with infinity": (bad_head(with_one(float("-inf"))), "holds NaN or infinity"),
    "weight missing": (
        lambda path: edit_tensors(path, {LAYER: None}),
        r"1 weights of LlamaModel are missing: layers\.1\.mlp\.up_proj\.weight\. Remedy",
    ),
    "weights surplus": (
        lambda path: edit_tensors(path, {}, {f"model.layers.{layer}.extra": torch.zeros(2) for layer in range(7)}),
        r"7 weights of LlamaModel are surplus: .*extra and 2 more",
    ),
    "surplus bias of the head": (
        lambda path: edit_tensors(path, {}, {"score.bias": torch.zeros(1)}),
        r"surplus: score\.bias",
    ),
    "a layer more than config.json says": (lambda path: edit_config(path, num_hidden_layers=1), "surplus"),
    "a layer less than config.json says": (lambda path: edit_config(path, num_hidden_layers=3), "missing"),
}


@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "mapped"])
@pytest.mark.parametrize("damage", LOADING)
def test_weights_that_do_not_fit_are_refused(damage: str, mapped: bool, tmp_path: Path) -> None:
    spoil, message = LOADING[damage]
    checkpoint = save_huggingface(tmp_path)
    load_reward_model(open_checkpoint(checkpoint), mapped=mapped)
    spoil(checkpoint)
    opened = open_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        load_reward_model(opened, mapped=mapped)


@pytest.mark.parametrize(
    "changes",
    [{"vocab_size": 401}, {"hidden_act": "no such function"}, {"num_attention_heads": 0}],
    ids=["vocabulary", "activation", "heads"],
)
def test_config_that_does_not_fit_is_an_error_of_ours(changes: dict[str, object], tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path)
    edit_config(checkpoint, **changes)
    with pytest.raises(CheckpointError):
        load_reward_model(open_checkpoint(checkpoint))


class _WritesAFile:
    """What a hostile .bin does when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_bin_is_refused_and_not_run(tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path / "checkpoint")
    tensors = load_file(checkpoint / "model.safetensors")
    no_weights(checkpoint)
    trace = tmp_path / "it ran"
    torch.save({**tensors, "extra": _WritesAFile(trace)}, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds code"):
        inspect_checkpoint(checkpoint)
    assert not trace.exists()
    torch.load(checkpoint / "pytorch_model.bin", weights_only=False)
    assert trace.exists(), "the file must be dangerous, else this test tells nothing"


def test_code_beside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path / "checkpoint")
    trace = tmp_path / "it ran"
    (checkpoint / "modeling_own.py").write_text(f"import os; os.mkdir({str(trace)!r})\nclass OwnConfig: pass\n")
    edit_config(
        checkpoint,
        model_type="own",
        auto_map={"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
    )
    with pytest.raises(RewardServeError, match="own"):
        load_reward_model(open_checkpoint(checkpoint))
    assert not trace.exists()


def test_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path)
    opened = open_checkpoint(checkpoint)
    edit_config(checkpoint, model_type="of_tomorrow")
    with pytest.raises(UnsupportedModelError, match="of_tomorrow"):
        load_reward_model(opened)


@pytest.mark.parametrize("source", ["no/such/directory/here", "nowhere", ""])
def test_source_that_is_no_directory(source: str) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(source)


def test_file_is_no_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="isn't a directory"):
        open_checkpoint(checkpoint / "config.json")


def test_openrlhf_needs_an_eos_token(tmp_path: Path) -> None:
    from rewardserve_export import ExportOptions, export

    checkpoint = save_openrlhf(tmp_path / "checkpoint")
    file = checkpoint / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["eos_token"]
    file.write_text(json.dumps(settings))
    assert inspect_checkpoint(checkpoint).tokenizer.eos_token is None
    with pytest.raises(CheckpointError, match="scores the EOS token, but its tokenizer has none"):
        export(checkpoint, ExportOptions(repository=tmp_path / "repository"))
    assert not (tmp_path / "repository").exists()
