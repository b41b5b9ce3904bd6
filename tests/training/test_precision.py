"""The value head, the rewards and the loss stay in float32, whatever the backbone computes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve_evaluation import Preference
from rewardserve_training import TrainingError, train
from rewardserve_training._base import load_base, open_base
from rewardserve_training._pairs import TokenPair
from rewardserve_training._progress import ProgressCallback
from rewardserve_training._trainer import reward_config, reward_trainer
from rewardserve_training._value_head import Float32Head
from safetensors.torch import load_file
from support.training import read_lines, train_options
from torch.nn.functional import linear
from transformers import AutoTokenizer

DRIFT = 0.1
"""How far margins may move, as a part of their spread: some twice what rounding adds up to in these 30 updates."""


def test_head_leaves_autocast() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 1, bias=False)
    head, hidden_states = Float32Head(layer), torch.randn(50, 64, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards, rounded = head(hidden_states), layer(hidden_states)
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards, linear(hidden_states.float(), layer.weight))
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(rewards, rounded.float())


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_loss_and_gradient_of_the_head_are_float32(
    base: Path, tmp_path: Path, data: Path, lora_rank: int | None
) -> None:
    """Under the trainer's own autocast: the backbone rounds, nothing behind it does."""
    options = train_options(data, tmp_path / "model", precision="bf16")
    model = load_base(open_base(base), init_value_head=False).model
    pair = TokenPair(preference=Preference(chosen=("a",), rejected=("b",)), chosen_ids=[5, 6, 7], rejected_ids=[8, 9])
    tokenizer = AutoTokenizer.from_pretrained(base)
    trainer = reward_trainer(
        model, tokenizer, reward_config(options), [pair], [], lora_rank, ProgressCallback(lambda _: None)
    )
    seen = []
    model.model.register_forward_hook(lambda *call: seen.append(call[-1].last_hidden_state.dtype))
    model.model.layers[0].mlp.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    wrapped = trainer.accelerator.prepare_model(trainer.model)
    batch = trainer.data_collator([{"chosen_ids": [5, 6, 7], "rejected_ids": [8, 9]}])
    with trainer.compute_loss_context_manager():
        loss, outputs = trainer.compute_loss(wrapped.train(), batch, return_outputs=True)
    loss.backward()
    assert torch.bfloat16 in seen
    assert outputs.logits.dtype == loss.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    # In bfloat16 a reward is one of few numbers.
    assert not torch.equal(outputs.logits.bfloat16().float(), outputs.logits)


def test_bf16_decides_held_out_pairs_as_fp32(base: Path, data: Path, tmp_path: Path) -> None:
    """All of them but those whose margin is within the difference of precisions, of which there are few."""
    evaluations = []
    for precision in ("fp32", "bf16"):
        output = tmp_path / precision
        settings = {"eval_fraction": 0.5, "max_steps": 30, "learning_rate": 1e-3, "precision": precision}
        assert train(base, train_options(data, output, **settings)) is not None
        assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {torch.float32}
        rows = read_lines(output / "evaluation.jsonl")
        evaluations.append(np.array([row["chosen_reward"] - row["rejected_reward"] for row in rows]))
    full, reduced = evaluations
    assert not np.array_equal(full, reduced)
    tolerance = DRIFT * full.std()
    assert np.abs(full - reduced).max() < tolerance
    clear = np.abs(full) > tolerance
    assert clear.mean() > 0.9
    assert ((full > 0) == (reduced > 0))[clear].all()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU does float16")
def test_fp16_is_refused_on_a_cpu(base: Path, data: Path, tmp_path: Path) -> None:
    """The trainer itself would compute in float32, and not say so."""
    with pytest.raises(TrainingError, match=r"precision is 'fp16', and there is no GPU"):
        train(base, train_options(data, tmp_path / "model", precision="fp16"))
