"""The prompts and completions that a trainer hands over, and what becomes of those that can't be scored. No I/O."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardserve._chat import render_chats
from rewardserve._contract import Tokenization
from rewardserve._errors import ContractError, InputError
from rewardserve._pairs import join_pairs

__all__ = ["Rollouts", "UnscoredWarning", "one_reward_each", "without_added_bos"]


class UnscoredWarning(UserWarning):
    """Completions have no reward, because they can't be scored: too long, empty, refused by the chat template."""


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Prompts and completions, one of each a rollout: texts, or lists of messages.

    Attributes:
        prompts: All of them texts, or all of them conversations.
        completions: Of the same kind.
    """

    prompts: Sequence[Any]
    completions: Sequence[Any]

    @property
    def conversational(self) -> bool:
        """Whether they are lists of messages."""
        return bool(self.prompts) and not isinstance(self.prompts[0], str)

    @property
    def conversations(self) -> list[list[Mapping[str, Any]]]:
        """Each prompt's messages and, behind them, its completion's."""
        return [
            [*prompt, *completion] for prompt, completion in zip(self.prompts, self.completions, strict=True)
        ]

    def texts(self, rules: Tokenization) -> list[str]:
        """What is tokenized: the pairs joined, or the conversations rendered, as the contract says.

        Raises:
            InputError: That can't be done with one of them.
        """
        if self.conversational:
            return render_chats(self.conversations, rules)
        return join_pairs(self.prompts, self.completions, rules)

    def take(self, indices: Sequence[int]) -> Rollouts:
        """Some of them."""
        return Rollouts(
            prompts=[self.prompts[index] for index in indices],
            completions=[self.completions[index] for index in indices],
        )

    def scorable(self, check: Callable[[Rollouts], object]) -> list[int]:
        """Positions of those that can be scored.

        Args:
            check: Raises an InputError for rollouts that can't be.

        Warns:
            UnscoredWarning: How many can't be scored, and why.
        """
        refusals: dict[int, InputError] = {}
        for index in range(len(self.prompts)):
            try:
                check(self.take([index]))
            except InputError as error:
                refusals[index] = error
        _warn(refusals, len(self.prompts))
        return [index for index in range(len(self.prompts)) if index not in refusals]

    def spread(self, rewards: Sequence[float], indices: Sequence[int]) -> list[float | None]:
        """The rewards of those at some positions, and None for the others."""
        spread: list[float | None] = [None] * len(self.prompts)
        for index, reward in zip(indices, rewards, strict=True):
            spread[index] = reward
        return spread


def without_added_bos(texts: Sequence[str], rules: Tokenization) -> list[str]:
    """Texts that were tokens once, without the BOS that the tokenizer puts before them again."""
    bos = rules.bos_token
    return [text.removeprefix(bos) if rules.adds_bos and bos else text for text in texts]


def one_reward_each(rewards: npt.NDArray[np.float32]) -> list[float]:
    """The rewards as a list.

    Raises:
        ContractError: The model answers several labels; a trainer takes one number a rollout.
    """
    if rewards.ndim != 1:
        raise ContractError(
            f"the model answers {rewards.shape[1]} labels for each text, and the trainer takes one reward. "
            "Remedy: call the client in a function of your own, and return the label, or the sum, to train on"
        )
    return rewards.tolist()


def _warn(refusals: Mapping[int, InputError], count: int) -> None:
    if not refusals:
        return
    kinds = Counter(type(error).__name__ for error in refusals.values())
    shown = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    first, error = next(iter(refusals.items()))
    reason = str(error).removeprefix("item 0: ")  # each was checked alone
    message = f"{len(refusals)} of {count} completions have no reward ({shown}). The first one, item {first}: {reason}"
    warnings.warn(message, UnscoredWarning, stacklevel=4)
