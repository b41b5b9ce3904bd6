"""The served reward model that TRL's PPO calls, against the same model in the trainer's process, by TRL's own code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rewardserve import InvalidTokensError, RewardClient, TextTooLongError, TokenizerMismatchError
from rewardserve.integrations.trl import RewardModule
from transformers import AutoTokenizer, LlamaForSequenceClassification, PreTrainedTokenizerBase, PreTrainedTokenizerFast

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:You are importing from 'trl.experimental'")

BOS, EOS, PAD = 0, 1, 2
ROWS = {
    "full": [BOS, 11, 12, 13, 21, 22, 23, EOS],
    "padded on both sides": [PAD, PAD, BOS, 13, 21, EOS, PAD, PAD],
    "padding in the prompt": [BOS, 11, PAD, 13, 21, 22, EOS, PAD],
    "padding in the response, and more behind it": [PAD, BOS, 12, 13, 21, PAD, 22, 23],
    "an empty response": [BOS, 11, 12, 13, PAD, PAD, PAD, PAD],
    "a prompt that ends with padding": [BOS, 11, 12, PAD, PAD, PAD, PAD, PAD],
}
"""Prompts of four tokens, and responses of four."""


@pytest.fixture(scope="module")
def tokenizer(policy: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(policy)


def rewards(model: torch.nn.Module, rows: list[list[int]], pad: int = PAD) -> torch.Tensor:
    from trl.experimental.utils import get_reward

    with torch.no_grad():
        return get_reward(model, torch.tensor(rows), pad, 4)[1]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "a prompt that ends with padding"])
def test_rewards_are_those_of_the_model_in_the_process(
    name: str, chat_client: RewardClient, chat_model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> None:
    served = rewards(RewardModule(chat_client, tokenizer), [ROWS[name]])
    assert served.dtype == torch.float32
    torch.testing.assert_close(served, rewards(chat_model, [ROWS[name]]), atol=1e-5, rtol=0)


def test_a_batch_is_one_call(
    chat_client: RewardClient, chat_model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [row for name, row in ROWS.items() if name != "a prompt that ends with padding"]
    torch.testing.assert_close(
        rewards(RewardModule(chat_client, tokenizer), rows), rewards(chat_model, rows), atol=1e-5, rtol=0
    )


def test_padding_may_be_the_eos(
    chat_client: RewardClient, chat_model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Then no EOS is scored, here or there."""
    rows = [[EOS, BOS, 11, 12, 21, 22, EOS, EOS], [BOS, 11, EOS, 12, 21, 22, 23, EOS]]
    served = rewards(RewardModule(chat_client, tokenizer), rows, pad=EOS)
    torch.testing.assert_close(served, rewards(chat_model, rows, pad=EOS), atol=1e-5, rtol=0)
    assert served.tolist() == pytest.approx(
        chat_client.score_tokens([[BOS, 11, 12, 21, 22], [BOS, 11, 12, 21, 22, 23]])
    )


def test_padding_has_the_reward_before_it(chat_client: RewardClient, tokenizer: PreTrainedTokenizerBase) -> None:
    """In the process, the model would be asked for its output at a token that it doesn't attend to."""
    served = rewards(RewardModule(chat_client, tokenizer), [ROWS["a prompt that ends with padding"]])
    assert served.tolist() == pytest.approx(chat_client.score_tokens([[BOS, 11, 12]]))


def test_what_no_reward_belongs_to_is_nan(chat_client: RewardClient, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = torch.tensor([[PAD, BOS, 11, 12]])
    hidden_states = RewardModule(chat_client, tokenizer).served(ids, ids != PAD).last_hidden_state
    assert hidden_states.shape == (1, 4, 1)
    assert hidden_states.flatten().isnan().tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("row", "error"), [([BOS, *[11] * 600], TextTooLongError), ([BOS, 11, 12, 13, 400], InvalidTokensError)]
)
def test_what_cannot_be_scored_is_an_error(
    row: list[int], error: type[Exception], chat_client: RewardClient, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(error, match="item 1"):
        rewards(RewardModule(chat_client, tokenizer), [[BOS, *[PAD] * (len(row) - 1)], row])


def test_a_padding_token_of_its_own_is_no_difference(chat_client: RewardClient, policy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    pad = tokenizer.pad_token_id
    served = rewards(RewardModule(chat_client, tokenizer), [[pad, BOS, 11, 12, 21, 22, EOS, pad]], pad=pad)
    assert served.tolist() == pytest.approx(chat_client.score_tokens([[BOS, 11, 12, 21, 22, EOS]]))


def test_other_tokens_are_refused(chat_client: RewardClient, policy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.add_tokens(["<think>"])
    message = (
        r"token '<think>' is \d+, in the served model there is no such token: .* Remedy: a policy and a reward model"
    )
    with pytest.raises(TokenizerMismatchError, match=message):
        RewardModule(chat_client, tokenizer)


def test_tokens_of_other_ids_are_refused(chat_client: RewardClient, policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    content = json.loads((policy / "tokenizer.json").read_text(encoding="utf-8"))
    ids = content["model"]["vocab"]
    ids["A"], ids["B"] = ids["B"], ids["A"]
    file.write_text(json.dumps(content), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="<pad>")
    with pytest.raises(TokenizerMismatchError, match=r"the policy's token 'B' is \d+, in the served model it is \d+"):
        RewardModule(chat_client, tokenizer)
