"""The value-head rule: a head that the base holds is kept, else there is a new one, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rewardserve import CheckpointError, UnsupportedModelError
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from rewardserve_training import train
from rewardserve_training._base import load_base, load_tokenizer, open_base
from support import checkpoints, formats
from support.training import train_options
from transformers import BertConfig, BertForSequenceClassification, BertModel


@pytest.mark.parametrize(
    "save",
    [
        formats.save_huggingface,
        formats.save_openrlhf,
        formats.save_trl,
        formats.save_llama_factory,
        formats.save_deepspeed_chat,
    ],
)
def test_every_formats_head_is_kept(tmp_path: Path, save: Callable[[Path], Any]) -> None:
    """Its rewards are the checkpoint's but for the bias, of which no preference depends."""
    save(tmp_path)
    checkpoint = open_base(tmp_path)
    base = load_base(checkpoint, init_value_head=False)
    assert base.head.startswith("kept: ")
    assert not base.new_head
    head = load_reward_model(checkpoint).head.linear
    ids = torch.tensor([[5, 9, 7, 1], [8, 3, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    rewards = base.model.eval()(input_ids=ids, attention_mask=mask).logits[:, 0]
    reward_model = load_reward_model(open_checkpoint(tmp_path))
    normalization, bias = checkpoint.normalization, 0.0 if head.bias is None else head.bias.item()
    for reward, row, length in zip(rewards, ids, (4, 3), strict=True):
        expected = reward_model(row[None, :length])[0]
        if normalization is not None:
            expected = expected * normalization.std + normalization.mean
        torch.testing.assert_close(reward, expected - bias, atol=2e-6, rtol=0)
    assert ("bias" in base.head) == (head.bias is not None)


def test_a_language_model_gets_a_new_head(base: Path, data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(base, train_options(data, tmp_path / "model", max_steps=1), said.append)
    assert said == [
        "value head new, drawn at random (standard deviation 1 / (H + 1), as OpenRLHF's): "
        f"{base} (transformers without a value head) holds none"
    ]


def test_a_head_is_replaced_when_asked(tmp_path: Path) -> None:
    checkpoint = open_base(checkpoints.save_huggingface(tmp_path))
    kept, new = (load_base(checkpoint, init_value_head=init) for init in (False, True))
    assert (kept.new_head, new.new_head) == (False, True)
    assert "in place of score.weight" in new.head
    stds = [each.model.get_parameter("score.weight").std().item() for each in (kept, new)]
    assert stds == pytest.approx([1, 1 / 33], rel=0.5)


def test_several_labels_are_refused(tmp_path: Path) -> None:
    formats.save_huggingface(tmp_path, outputs=2)
    with pytest.raises(CheckpointError, match=r"has 2 labels, and preferences train one reward"):
        open_base(tmp_path)


@pytest.mark.parametrize("model", [BertForSequenceClassification, BertModel])
def test_encoders_are_refused(tmp_path: Path, model: Any) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    checkpoints.save_huggingface(tmp_path, model(BertConfig(vocab_size=400, num_labels=1, **sizes)))
    with pytest.raises(UnsupportedModelError, match=r"classifier|linear head"):
        load_base(open_base(tmp_path), init_value_head=False)


def test_padding_is_never_eos_where_another_token_can_be(tmp_path: Path) -> None:
    checkpoints.save_huggingface(tmp_path)
    checkpoints.edit_tokenizer_config(tmp_path, pad_token="</s>")
    tokenizer = load_tokenizer(open_base(tmp_path))
    assert tokenizer.eos_token == "</s>"
    assert tokenizer.pad_token == "<s>"
