"""The reward model that TRL's PPO calls, as a module without weights that asks the server."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import torch
from transformers.modeling_outputs import BaseModelOutput

from rewardserve._client import RewardClient
from rewardserve._errors import TokenizerMismatchError
from rewardserve.integrations._rollouts import one_reward_each

__all__ = ["RewardModule"]


class PolicyTokenizer(Protocol):
    """What is asked of a transformers tokenizer."""

    pad_token: str | None

    def get_vocab(self) -> dict[str, int]: ...


class RewardModule(torch.nn.Module):
    """A served reward model for `PPOTrainer(reward_model=…)`, in the policy's own tokens.

    PPO hands over token ids, and they are scored as they are, without their padding: no text is made of them, no chat
    template or EOS added. What TRL calls padding is every `pad_token_id`, wherever it stands; with pad = EOS that is
    every EOS too, here as with a reward model in the trainer's own process.

    Args:
        client: Of the served model.
        tokenizer: The policy's, as given to the trainer as `processing_class`.

    Raises:
        TokenizerMismatchError: The policy's tokens aren't the served model's.
        ServerError: The tokenizer can't be fetched.

    Example:
        >>> PPOTrainer(reward_model=RewardModule(client, tokenizer), processing_class=tokenizer, …)  # doctest: +SKIP
    """

    base_model_prefix = "served"

    def __init__(self, client: RewardClient, tokenizer: PolicyTokenizer) -> None:
        super().__init__()
        _require_same_tokens(client, tokenizer)
        self.served = _Served(client)

    def score(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The rewards [B, T, 1] that `served` has put where a model has its hidden states."""
        return hidden_states


class _Served(torch.nn.Module):
    """Stands for the backbone; its hidden state at a position is the reward of the tokens up to there."""

    def __init__(self, client: RewardClient) -> None:
        super().__init__()
        self._client = client

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Puts a reward at the last token [B, T], and at every other one that padding follows.

        TRL reads the one just before the first padding of the response, and where that is, isn't passed on. Padding
        itself gets the reward before it, and what no reward belongs to is NaN.
        """
        sequences, places = [], []
        for row, (ids, mask) in enumerate(zip(input_ids.cpu(), attention_mask.cpu().bool(), strict=True)):
            for position, (token, next_token) in enumerate(pairwise([*mask.tolist(), False])):
                if token and not next_token:
                    end = position + 1
                    sequences.append(ids[:end][mask[:end]].tolist())
                    places.append((row, position))
        rewards = torch.full(input_ids.shape, torch.nan, dtype=torch.float32)
        for (row, position), reward in zip(places, one_reward_each(self._client.score_tokens(sequences)), strict=True):
            rewards[row, position:] = reward
        hidden_states = rewards.unsqueeze(-1).to(input_ids.device)
        return BaseModelOutput(last_hidden_state=hidden_states, hidden_states=(hidden_states,))


def _require_same_tokens(client: RewardClient, tokenizer: PolicyTokenizer) -> None:
    served = client._session.vocabulary()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if token != tokenizer.pad_token and served.get(token) != index:  # padding isn't sent
            known = f"it is {served[token]}" if token in served else "there is no such token"
            raise TokenizerMismatchError(
                f"the policy's token {token!r} is {index}, in the served model {known}: PPO hands over token ids, and "
                "they would mean another text there. Remedy: a policy and a reward model of the same tokenizer; or "
                "GRPOTrainer with RewardFunction, which hands over texts"
            )
