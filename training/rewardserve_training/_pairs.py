"""Preferences become pairs of token ids, by the rules that a client will score by."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rewardserve import ChatTemplateError, InputError, TextTooLongError, Tokenization
from rewardserve._chat import render_chats
from rewardserve._pairs import join_pairs
from rewardserve._tokenizer import Encoder
from rewardserve_evaluation import Answer, Conversation, Preference, PreferencesError, PromptedText, read_preferences

from rewardserve_training._options import TrainOptions

__all__ = ["PairSet", "TokenPair", "read_pairs"]


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """A chosen and a rejected sequence.

    Attributes:
        preference: The row that they are from; of several answers every chosen one pairs with every rejected one.
        chosen_ids: Token ids.
        rejected_ids: Token ids.
    """

    preference: Preference
    chosen_ids: list[int]
    rejected_ids: list[int]


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """What a training sees of its data.

    Attributes:
        train: To train on.
        evaluation: To evaluate on; empty without an evaluation.
        too_long: Pairs left out of either, because one of their sequences has too many tokens.
    """

    train: list[TokenPair]
    evaluation: list[TokenPair]
    too_long: int

    def digest(self) -> str:
        """sha256 over all token ids, in order: whether a training goes on with the data it began with."""
        digest = hashlib.sha256()
        for pair in itertools.chain(self.train, self.evaluation):
            for ids in (pair.chosen_ids, pair.rejected_ids):
                digest.update(np.array([len(ids), *ids], dtype=np.int32).tobytes())
        return digest.hexdigest()


def read_pairs(options: TrainOptions, encoder: Encoder, rules: Tokenization) -> PairSet:
    """Reads and tokenizes the preferences to train and to evaluate on.

    Args:
        options: Which files, and how large a part is held out.
        encoder: Applies the rules.
        rules: How text becomes tokens.

    Raises:
        PreferencesError: A row is wrong, can't be tokenized, or no pair is left; names line and field.
    """
    rows = read_preferences(options.data, chat=options.chat)
    train, evaluation, source = rows, [], options.data
    if options.eval_data is not None:
        source = options.eval_data
        evaluation = read_preferences(source, chat=options.chat)
    elif options.evaluates:
        train, evaluation = _split(rows, options)
    train_pairs, train_long = _tokenize(options.data, train, encoder, rules)
    evaluation_pairs, evaluation_long = _tokenize(source, evaluation, encoder, rules)
    for path, pairs, wanted in ((options.data, train_pairs, True), (source, evaluation_pairs, options.evaluates)):
        if wanted and not pairs:
            raise PreferencesError(
                str(path), f"has no pair of at most {rules.max_length} tokens a sequence. Remedy: a larger max_length"
            )
    return PairSet(train=train_pairs, evaluation=evaluation_pairs, too_long=train_long + evaluation_long)


def _split(rows: Sequence[Preference], options: TrainOptions) -> tuple[list[Preference], list[Preference]]:
    """Whole rows are held out, at least one, and the order of the rest is kept."""
    count = max(1, round(len(rows) * options.eval_fraction))
    if count >= len(rows):
        raise PreferencesError(str(options.data), f"has {len(rows)} row: too few to hold one out. Remedy: more data")
    held_out = set(random.Random(options.seed).sample(range(len(rows)), count))
    train = [row for index, row in enumerate(rows) if index not in held_out]
    return train, [rows[index] for index in sorted(held_out)]


def _tokenize(
    source: Path, rows: Sequence[Preference], encoder: Encoder, rules: Tokenization
) -> tuple[list[TokenPair], int]:
    pairs, too_long = [], 0
    for row in rows:
        chosen = [_ids(source, row, "chosen", answer, encoder, rules) for answer in row.chosen]
        rejected = [_ids(source, row, "rejected", answer, encoder, rules) for answer in row.rejected]
        for one, other in itertools.product(chosen, rejected):
            if one is None or other is None:
                too_long += 1
            else:
                pairs.append(TokenPair(preference=row, chosen_ids=one, rejected_ids=other))
    return pairs, too_long


def _ids(
    source: Path, row: Preference, field: str, answer: Answer, encoder: Encoder, rules: Tokenization
) -> list[int] | None:
    """Token ids of an answer with all that precedes it; None if they are too many."""
    chat = isinstance(answer, Conversation)
    try:
        if isinstance(answer, Conversation):
            (text,) = render_chats([answer.messages], rules)
        elif isinstance(answer, PromptedText):
            (text,) = join_pairs([answer.prompt], [answer.response], rules)
        else:
            text = answer
        (ids,), _ = encoder.encode([text], chat=chat)
    except TextTooLongError:
        return None
    except InputError as error:
        reason = str(error).removeprefix(f"item {error.index}: ")
        raise PreferencesError(str(source), reason, line=row.line, field=field) from error
    except ChatTemplateError as error:
        raise PreferencesError(
            str(source),
            "is a conversation, and the base's tokenizer has no chat template that works. Remedy: a base with one, or "
            f"texts instead of messages ({error})",
            line=row.line,
            field=field,
        ) from error
    return ids
