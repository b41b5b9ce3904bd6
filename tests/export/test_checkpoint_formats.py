"""The same weights, in every format and file layout, give the same rewards; what differs is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardserve import CheckpointError, UntrainedHeadError
from rewardserve_export import ExportOptions, export, inspect_checkpoint
from rewardserve_export.checkpoint import RewardModel, load_reward_model, open_checkpoint
from rewardserve_export.parity import Rewards, Tokens, onnx_runner, transformers_scorer
from safetensors.torch import load_file
from support.checkpoints import edit_config, edit_tensors, save_huggingface, save_openrlhf
from support.packed import request, score
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def sequences() -> list[Tokens]:
    random = np.random.default_rng(0)
    return [random.integers(0, 400, length, dtype=np.int32) for length in (1, 5, 70)]


@pytest.fixture(scope="module")
def expected(model: RewardModel, sequences: list[Tokens]) -> Rewards:
    rewards = transformers_scorer(model)(sequences)
    assert len(set(rewards.tolist())) == 3
    return rewards


def rewards_of(checkpoint: Path, sequences: list[Tokens]) -> Rewards:
    return transformers_scorer(load_reward_model(open_checkpoint(checkpoint)))(sequences)


def assert_same(rewards: Rewards, expected: Rewards) -> None:
    """PyTorch's own kernels round differently where the weights lie at another address."""
    np.testing.assert_allclose(rewards, expected, rtol=2e-6, atol=2e-6)


def save_bin(directory: Path) -> Path:
    save_huggingface(directory)
    to_bin(directory)
    return directory


def to_bin(directory: Path, **options: Any) -> None:
    tensors = load_file(directory / "model.safetensors")
    torch.save(tensors, directory / "pytorch_model.bin", **options)
    (directory / "model.safetensors").unlink()


def save_legacy_bin(directory: Path) -> Path:
    """As torch wrote it before 1.6."""
    save_huggingface(directory)
    to_bin(directory, _use_new_zipfile_serialization=False)
    return directory


def save_openrlhf_bin(directory: Path) -> Path:
    save_openrlhf(directory, head="value_head")
    to_bin(directory)
    return directory


def save_sharded(directory: Path) -> Path:
    save_huggingface(directory, max_shard_size="40KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    return directory


def save_with_language_model(directory: Path) -> Path:
    """Some tools keep the output layer of the model they started from."""
    save_huggingface(directory)
    edit_tensors(directory, {}, {"lm_head.weight": torch.randn(400, 32)})
    return directory


def save_without_prefix(directory: Path) -> Path:
    """OpenRLHF's intermediate checkpoints lack `value_head_prefix`."""
    save_openrlhf(directory, head="value_head")
    edit_config(directory, value_head_prefix=None)
    return directory


def save_other_prefix(directory: Path) -> Path:
    save_openrlhf(directory, head="score")
    edit_config(directory, value_head_prefix="value_head")
    return directory


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "Hugging Face": (save_huggingface, "Hugging Face sequence classification", "score.weight"),
    "Hugging Face, sharded": (save_sharded, "Hugging Face sequence classification", "score.weight"),
    "Hugging Face, .bin": (save_bin, "Hugging Face sequence classification", "score.weight"),
    "Hugging Face, old .bin": (save_legacy_bin, "Hugging Face sequence classification", "score.weight"),
    "Hugging Face, lm_head kept": (save_with_language_model, "Hugging Face sequence classification", "score.weight"),
    "OpenRLHF": (save_openrlhf, "OpenRLHF", "score.weight"),
    "OpenRLHF, value_head": (lambda path: save_openrlhf(path, head="value_head"), "OpenRLHF", "value_head.weight"),
    "OpenRLHF, any prefix": (lambda path: save_openrlhf(path, head="reward_out"), "OpenRLHF", "reward_out.weight"),
    "OpenRLHF, .bin": (save_openrlhf_bin, "OpenRLHF", "value_head.weight"),
    "OpenRLHF, no prefix": (save_without_prefix, "OpenRLHF", "value_head.weight"),
    "OpenRLHF, prefix disagrees": (save_other_prefix, "OpenRLHF", "score.weight"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_weights_give_the_same_rewards(
    layout: str, tmp_path: Path, sequences: list[Tokens], expected: Rewards
) -> None:
    save, name, head = LAYOUTS[layout]
    checkpoint = save(tmp_path)
    report = inspect_checkpoint(checkpoint)
    assert (report.format, report.head, report.normalization) == (name, head, None)
    assert report.dtypes == {"float32" if "bin" in layout else "F32": sum(report.dtypes.values())}
    assert (report.model_type, report.hidden_size, report.max_position_embeddings) == ("llama", 32, 1024)
    assert_same(rewards_of(checkpoint, sequences), expected)


def test_half_precision_weights_are_computed_in_single(tmp_path: Path, sequences: list[Tokens]) -> None:
    save_huggingface(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {key: tensor.bfloat16() for key, tensor in load_file(path).items()}
    edit_tensors(tmp_path, {}, tensors)
    edit_config(tmp_path, dtype="bfloat16")
    assert set(inspect_checkpoint(tmp_path).dtypes) == {"BF16"}
    rounded = rewards_of(tmp_path, sequences)
    edit_tensors(tmp_path, {}, {key: tensor.float() for key, tensor in tensors.items()})
    edit_config(tmp_path, dtype="float32")
    assert_same(rewards_of(tmp_path, sequences), rounded)


def test_parameters_are_counted(checkpoint: Path, model: RewardModel) -> None:
    held = sum(parameter.numel() for parameter in model.parameters())
    assert inspect_checkpoint(checkpoint).parameters == held


def test_files_are_taken_in_the_order_that_transformers_has(
    tmp_path: Path, sequences: list[Tokens], expected: Rewards
) -> None:
    """Else the head would come from one file and the backbone from another."""
    save_huggingface(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["score.weight"] *= 5
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"score.weight": "pytorch_model.bin"}}')
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"score.weight": "../other.safetensors"}}')
    assert [file.name for file in open_checkpoint(tmp_path).weights.files] == ["model.safetensors"]
    assert_same(rewards_of(tmp_path, sequences), expected)


@pytest.mark.parametrize("last", [0, 1, 2], ids=["bos", "pad = eos", "another token"])
def test_last_token_is_scored_whatever_it_is(last: int, model: RewardModel, graph: Path) -> None:
    """transformers' own pooling skips the last EOS where pad = eos."""
    assert model.backbone.config.pad_token_id == model.backbone.config.eos_token_id == 1
    ids = torch.tensor([[5, 6, 7, last]])
    with torch.inference_mode():
        hidden_states = model.backbone(input_ids=ids, use_cache=False).last_hidden_state
        expected = (hidden_states[0, -1] @ model.head.linear.weight[0]).item()
        before = (hidden_states[0, -2] @ model.head.linear.weight[0]).item()
        assert model(ids).item() == pytest.approx(expected, abs=1e-6)
    ((rewards, _),) = score(onnx_runner(graph), [request([5, 6, 7, last], (4, 0))])
    assert rewards[0] == pytest.approx(expected, abs=1e-5)
    assert abs(expected - before) > 1e-3


NORMALIZATIONS: list[tuple[dict[str, Any], float, float]] = [
    ({"mean": 0.75, "std": 2.5}, 0.75, 2.5),
    ({"mean": -3}, -3.0, 1.0),
    ({"std": 0.1}, 0.0, 0.1),
    ({}, 0.0, 1.0),
]


@pytest.mark.parametrize(("given", "mean", "std"), NORMALIZATIONS, ids=["both", "mean only", "std only", "neither"])
def test_normalization_is_applied_once(
    given: dict[str, Any], mean: float, std: float, tmp_path: Path, sequences: list[Tokens], expected: Rewards
) -> None:
    save_openrlhf(tmp_path, normalize_reward=True, **given)
    normalization = inspect_checkpoint(tmp_path).normalization
    assert normalization is not None
    assert (normalization.mean, normalization.std) == (mean, std)
    np.testing.assert_allclose(rewards_of(tmp_path, sequences), (expected - mean) / std, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("asked", [False, None])
def test_normalization_that_is_not_asked_for_is_not_applied(
    asked: bool | None, tmp_path: Path, sequences: list[Tokens], expected: Rewards
) -> None:
    save_openrlhf(tmp_path, normalize_reward=asked, mean=0.75, std=2.5)
    assert inspect_checkpoint(tmp_path).normalization is None
    assert_same(rewards_of(tmp_path, sequences), expected)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0), (0.0, -1.0), (0.0, float("nan")), ("a", 1.0), (float("inf"), 1.0)])
def test_normalization_that_cannot_be_is_refused(mean: object, std: object, tmp_path: Path) -> None:
    save_openrlhf(tmp_path, normalize_reward=True, mean=mean, std=std)
    with pytest.raises(CheckpointError, match=r"normalisation with mean .* and std .* Remedy"):
        inspect_checkpoint(tmp_path)


def test_untrained_head_is_reported_and_refused(tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path / "checkpoint")
    edit_tensors(checkpoint, {"score.weight": None})
    assert inspect_checkpoint(checkpoint).head is None
    with pytest.raises(UntrainedHeadError, match=r"holds no value head.*--allow-untrained-head"):
        export(checkpoint, ExportOptions(repository=tmp_path / "repository"))
    assert not (tmp_path / "repository").exists()


def test_untrained_head_is_the_same_each_time(tmp_path: Path, sequences: list[Tokens], expected: Rewards) -> None:
    save_huggingface(tmp_path)
    edit_tensors(tmp_path, {"score.weight": None})
    rewards = rewards_of(tmp_path, sequences)
    torch.manual_seed(5)
    assert_same(rewards_of(tmp_path, sequences), rewards)
    assert not np.allclose(rewards, expected, atol=1e-2)


def test_export_of_another_format_on_the_stock_backend(
    tmp_path: Path, sequences: list[Tokens], expected: Rewards
) -> None:
    """Normalisation is in the graph, once; the contract tells OpenRLHF's tokens; an untrained head isn't hidden."""
    checkpoint = save_openrlhf(tmp_path / "checkpoint", normalize_reward=True, mean=0.75, std=2.5)
    options = ExportOptions(repository=tmp_path / "repository", backend="onnxruntime", max_length=100, name="stock")
    summary = export(checkpoint, options)
    assert summary.trained_head
    assert summary.max_batch_size == 4
    ((rewards, _),) = score(
        onnx_runner(summary.path / "model.onnx"),
        [request(np.concatenate(sequences), *((tokens.size, 0) for tokens in sequences))],
    )
    np.testing.assert_allclose(rewards, (expected - 0.75) / 2.5, atol=1e-5)
    assert {path.name for path in summary.path.iterdir()} == {
        "model.onnx",
        "model.onnx.data",
        "contract.json",
        "manifest.json",
        "tokenizer.json",
    }
    assert summary.bytes == sum(path.stat().st_size for path in summary.path.iterdir())

    contract = summary.contract
    assert contract.normalization is not None
    assert (contract.normalization.mean, contract.normalization.std) == (0.75, 2.5)
    assert contract.source_digest == open_checkpoint(checkpoint).digest()
    assert contract.architecture == "LlamaModel"
    rule = contract.tokenization
    assert (rule.add_special_tokens, rule.strip_newlines, rule.eos_suffix) == (False, True, " </s>")
    assert (rule.eos_token, rule.forced_last_id, rule.max_length) == ("</s>", 1, 100)


def test_untrained_head_is_exported_when_asked_for(tmp_path: Path, sequences: list[Tokens]) -> None:
    checkpoint = save_huggingface(tmp_path / "checkpoint")
    edit_tensors(checkpoint, {"score.weight": None})
    options = ExportOptions(repository=tmp_path / "repository", allow_untrained_head=True, truncation="left")
    summary = export(checkpoint, options)
    assert not summary.trained_head
    assert summary.contract.tokenization.truncation == "left"
    assert summary.contract.tokenization.max_length == 1024
    run = onnx_runner(summary.path / "model.onnx")
    ((rewards, _),) = score(run, [request(sequences[1], (5, 0))])
    assert rewards[0] == pytest.approx(rewards_of(checkpoint, sequences)[1], abs=1e-5)


def test_digest_tells_checkpoints_apart(tmp_path: Path, checkpoint: Path) -> None:
    digests = [open_checkpoint(checkpoint).digest()]
    other = save_huggingface(tmp_path)
    assert open_checkpoint(other).digest() == digests[0], "the same files in another place"
    edit_config(other, note="changed")
    digests.append(open_checkpoint(other).digest())
    edit_tensors(other, {}, {"score.weight": torch.ones(1, 32)})
    digests.append(open_checkpoint(other).digest())
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(other / "tokenizer.json"))
    digests.append(open_checkpoint(other).digest())
    assert len(set(digests)) == 4
