"""The prompts and completions that a trainer hands over, and what becomes of those that can't be scored. No I/O."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rewardserve._chat import render_chats
from rewardserve._contract import Tokenization
from rewardserve._errors import ContractError, InputError
from rewardserve._pairs import join_pairs

__all__ = ["Rollouts", "UnscoredWarning", "one_reward_each", "without_added_bos"]

Scored_co = TypeVar("Scored_co", covariant=True)


class Scorer(Protocol[Scored_co]):
    """A client: it gives an array of rewards, or what becomes one when it is awaited."""

    def score_chat(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Scored_co: ...

    def score_pairs(self, prompts: Sequence[str], responses: Sequence[str]) -> Scored_co: ...


class UnscoredWarning(UserWarning):
    """Completions have no reward, because they can't be scored: too long, empty, refused by the chat template."""


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Prompts and completions, one of each a rollout.

    Attributes:
        prompts: Texts, or lists of messages.
        completions: Of the same kind.
    """

    prompts: Sequence[Any]
    completions: Sequence[Any]

    @property
    def conversational(self) -> bool:
        """Whether they are lists of messages."""
        return bool(self.prompts) and not isinstance(self.prompts[0], str)

    def score(self, client: Scorer[Scored_co]) -> Scored_co:
        """What the client makes of them: conversations of both parts' messages, or pairs of texts."""
        if self.conversational:
            return client.score_chat(self._conversations())
        return client.score_pairs(self.prompts, self.completions)

    def texts(self, rules: Tokenization) -> list[str]:
        """What the client tokenizes then.

        Raises:
            InputError: One of them is malformed.
        """
        if self.conversational:
            return render_chats(self._conversations(), rules)
        return join_pairs(self.prompts, self.completions, rules)

    def take(self, indices: Sequence[int]) -> Rollouts:
        """Some of them."""
        return Rollouts(
            prompts=[self.prompts[index] for index in indices],
            completions=[self.completions[index] for index in indices],
        )

    def refused(self, check: Callable[[Rollouts], object]) -> dict[int, InputError]:
        """Why which of them can't be scored, by position; `check` raises an InputError for those that can't."""
        refusals: dict[int, InputError] = {}
        for index in range(len(self.prompts)):
            try:
                check(self.take([index]))
            except InputError as error:
                refusals[index] = error
        return refusals

    def warn(self, refusals: Mapping[int, InputError]) -> None:
        """Warns, in the name of the caller's caller, with an UnscoredWarning: how many have no reward, and why."""
        if not refusals:
            return
        kinds = Counter(type(error).__name__ for error in refusals.values())
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        first, error = next(iter(refusals.items()))
        reason = str(error).removeprefix("item 0: ")  # it was checked alone
        found = f"{len(refusals)} of {len(self.prompts)} completions have no reward ({counts})"
        warnings.warn(f"{found}; item {first}: {reason}", UnscoredWarning, stacklevel=3)

    def _conversations(self) -> list[list[Mapping[str, Any]]]:
        return [[*prompt, *completion] for prompt, completion in zip(self.prompts, self.completions, strict=True)]


def without_added_bos(texts: Sequence[str], rules: Tokenization) -> list[str]:
    """Texts decoded from tokens, without the BOS that the tokenizer will put before them once more."""
    bos = rules.bos_token if rules.adds_bos else None
    return [text.removeprefix(bos or "") for text in texts]


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
    return [float(reward) for reward in rewards]
