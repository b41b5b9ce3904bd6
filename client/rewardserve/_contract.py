"""The reward contract: how text becomes tokens, and what a served model may be asked.

It is written at export, as JSON, into the parameters of the model's `config.pbtxt`, one entry a version, and the client
obeys it. So a text gets the score that it had in training, wherever it is scored.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, Literal

from rewardserve._errors import ContractError, NotARewardModelError
from rewardserve._identity import identity_of

__all__ = ["Normalization", "Parity", "RewardContract", "Tokenization"]

_LARGEST = 2**31 - 1
"""Of the integers here: token ids and lengths are INT32 on the wire."""

FORMAT = 2
"""Raised whenever a field that decides rewards is added, removed, or means something else."""
_PARAMETER = "rewardserve_contract_{version}"

DEFAULT_VERSION = "rewardserve_default_version"
"""Parameter of the companion that hands out tokenizers: the version of the reward model for clients that name none.
Without it, that is the highest one loaded. In the model's own configuration, a change would load the model anew."""


Priority = Literal["interactive", "bulk"]
"""Who waits for a reward: somebody, or a long run."""

PRIORITIES: dict[Priority, int] = {"interactive": 1, "bulk": 2}
"""Triton's number of each; the lower goes first."""


def contract_parameter(version: str | int) -> str:
    """The `config.pbtxt` parameter that holds the contract of one version of a model."""
    return _PARAMETER.format(version=version)


def is_version(text: str) -> bool:
    """Whether a text is the number of a version, as Triton names directories."""
    return text.isascii() and text.isdecimal()


def tokenizer_model(model: str) -> str:
    """Name of the companion model that hands out the tokenizer of `model`."""
    return f"{model}_tokenizer"


def text_model(model: str) -> str:
    """Name of the companion model that scores texts with `model`."""
    return f"{model}_text"


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, must be an integer of at least 1")


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, NoneType),
    "bool": (bool,),
    "int": (int,),
    "int | None": (int, NoneType),
    "Mapping[str, str]": (Mapping,),
    "tuple[str, ...] | None": (tuple, NoneType),
}
"""Of fields, by their annotation."""


def _require_kinds(record: Any) -> None:
    """Checks a dataclass's fields: a contract comes from the server, and is written to config.pbtxt for clients."""
    for entry in dataclasses.fields(record):
        value, kinds = getattr(record, entry.name), _KINDS.get(str(entry.type))
        if kinds is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{entry.name} is {value!r}, must be {entry.type}")
        if isinstance(value, int) and not 0 <= value <= _LARGEST:
            raise ValueError(f"{entry.name} is {value}, must be from 0 to {_LARGEST}")
        if isinstance(value, str):
            value.encode()  # JSON may hold lone surrogates, which no tokenizer takes
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        if isinstance(parts, list | tuple) and not all(isinstance(part, str) for part in parts):
            raise ValueError(f"{entry.name} is {value!r}, must hold text")


def _require_sha256(text: str) -> None:
    """It names a file, in the client's cache and in a repository: nothing else may be in it."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"tokenizer_sha256 is {text!r}, no sha256")


@dataclass(frozen=True, kw_only=True)
class Tokenization:
    """How text becomes the token ids that are scored.

    A text (`score`) is edited by `strip_newlines` and `eos_suffix`, tokenized with or without the tokenizer's special
    tokens, truncated, and its last id replaced. A pair (`score_pairs`) is the text made of its prompt, `pair_separator`
    and its response, whether or not there is a chat template. A conversation (`score_chat`) is rendered by the chat
    template without a generation prompt, and then tokenized without special tokens, as transformers'
    `apply_chat_template` does it: the template itself writes BOS, which therefore isn't doubled.

    Attributes:
        tokenizer_sha256: Of the exported `tokenizer.json`.
        add_special_tokens: Whether the tokenizer's own post-processor runs on texts (it may add BOS or EOS).
        adds_bos: Whether that puts BOS before a text. Then a text that already begins with BOS is an error.
        bos_token: The BOS token's text, or None if the tokenizer has none. No sequence may begin with it twice.
        strip_newlines: Whether newlines at the end of a text are removed first.
        eos_suffix: Appended to a text that doesn't end with `eos_token`; None appends nothing.
        eos_token: The EOS token's text, or None if the tokenizer has none.
        forced_last_id: The last id is replaced by this one, also after truncation; None leaves it.
        pair_separator: What a prompt and its response are joined by.
        chat_template: The checkpoint's, Jinja source; None if it has none.
        template_tokens: Special tokens that the template may name besides `bos_token` and `eos_token`, by variable.
        chat_as_text: Whether `strip_newlines`, `eos_suffix` and `forced_last_id` also apply to rendered conversations.
        max_length: Tokens of one sequence.
        truncation: What happens to a longer one: an error, or its left or right end is cut off, but for the special
            tokens that the tokenizer adds.
    """

    tokenizer_sha256: str
    add_special_tokens: bool = True
    adds_bos: bool = False
    bos_token: str | None = None
    strip_newlines: bool = False
    eos_suffix: str | None = None
    eos_token: str | None = None
    forced_last_id: int | None = None
    pair_separator: str = ""
    chat_template: str | None = None
    template_tokens: Mapping[str, str] = field(default_factory=dict)
    chat_as_text: bool = False
    max_length: int
    truncation: Literal["error", "left", "right"] = "error"

    def __post_init__(self) -> None:
        _require_kinds(self)
        _require_positive(max_length=self.max_length)
        if self.truncation not in ("error", "left", "right"):
            raise ValueError(f"truncation is {self.truncation!r}, must be 'error', 'left' or 'right'")
        if self.adds_bos and (self.bos_token is None or not self.add_special_tokens):
            raise ValueError("adds_bos is true, but there is no bos_token, or no special token is added")


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """`(reward - mean) / std`, applied inside the graph.

    Attributes:
        mean: Mean reward of the training run's data.
        std: Its standard deviation.
    """

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the export measured.

    Attributes:
        sequences: How many were compared.
        largest_difference: Largest absolute difference of a reward between transformers, one sequence at a time in
            float32, and the exported graph, in its precision, on the exporting machine's CPU.
        batch_deviation: Largest absolute difference of one sequence's reward between batch compositions.
    """

    sequences: int
    largest_difference: float
    batch_deviation: float


@dataclass(frozen=True, kw_only=True)
class RewardContract:
    """Everything that a client has to know about a served reward model.

    Attributes:
        tokenization: How text becomes tokens.
        vocab_size: Token ids are 0 to vocab_size - 1.
        max_request_tokens: Tokens of one packed request.
        max_batch_tokens: Tokens that the server computes in one run.
        normalization: None where the checkpoint has none.
        scored_token: Which token's value is the reward.
        labels: Names of the head's outputs where it has several, else None.
        values: Whether the server can answer the head's output at every token.
        bidirectional: Whether tokens see later ones: then prefixes can't be shared.
        padded: Whether the graph pads the sequences of a run to the longest: then the limits count the padding, too.
        precision: Of the graph's weights and activations.
        graph: Its format and, where they aren't the plain ones, its operators: two graphs round differently.
        architecture: The backbone's class in transformers.
        source_digest: sha256 over the checkpoint's weights, config and tokenizer files.
        parity: As measured at export.
    """

    tokenization: Tokenization
    vocab_size: int
    max_request_tokens: int
    max_batch_tokens: int
    normalization: Normalization | None
    scored_token: Literal["first", "last"] = "last"
    labels: tuple[str, ...] | None = None
    values: bool = False
    bidirectional: bool = False
    padded: bool = False
    precision: str
    graph: str
    architecture: str
    source_digest: str
    parity: Parity

    def __post_init__(self) -> None:
        _require_kinds(self)
        _require_positive(vocab_size=self.vocab_size)
        if not self.tokenization.max_length <= self.max_request_tokens <= self.max_batch_tokens:
            raise ValueError(
                f"max_length {self.tokenization.max_length}, max_request_tokens {self.max_request_tokens} and "
                f"max_batch_tokens {self.max_batch_tokens} must not decrease: each fits into the next"
            )
        if self.scored_token not in ("first", "last"):
            raise ValueError(f"scored_token is {self.scored_token!r}, must be 'first' or 'last'")

    @cached_property
    def identity(self) -> int:
        """What the graph adds to every fingerprint, 0 to 2^31 - 2: another model's is another (see `identity_of`)."""
        return identity_of(dataclasses.asdict(self), FORMAT)

    def to_json(self) -> str:
        """The contract as one JSON object, keys in the order of the attributes, and its identity."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self), "identity": self.identity})

    @classmethod
    def from_json(cls, text: str) -> RewardContract:
        """Reads `to_json`'s output.

        Raises:
            ContractError: It isn't a contract, is of another rewardserve generation, or was changed after the export.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            if (written := fields.pop("format")) != FORMAT:
                remedy = "export the model again" if written < FORMAT else "upgrade this client"
                raise ContractError(
                    f"the model's reward contract has format {written}, this client reads format {FORMAT}. "
                    f"Remedy: {remedy}; use the same rewardserve version for export and client"
                )
            normalization, labels = fields.pop("normalization"), fields.pop("labels", None)
            identity = fields.pop("identity")
            contract = cls(
                tokenization=Tokenization(**fields.pop("tokenization")),
                normalization=Normalization(**normalization) if normalization is not None else None,
                parity=Parity(**fields.pop("parity")),
                labels=tuple(labels) if labels is not None else None,
                **fields,
            )
            _require_sha256(contract.tokenization.tokenizer_sha256)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ContractError(
                f"the model's reward contract can't be read ({error!r}). Remedy: export it again"
            ) from error
        if contract.identity != identity:
            raise ContractError(
                f"the model's reward contract says identity {identity}, but the rest of it makes {contract.identity}: "
                "it was changed after the export, and the graph wasn't. Remedy: export it again"
            )
        return contract

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], *, model: str, version: str) -> RewardContract:
        """Finds the contract of one version among a model's `config.pbtxt` parameters.

        Raises:
            NotARewardModelError: There is none.
            ContractError: It can't be read.
        """
        text = parameters.get(contract_parameter(version))
        if text is None:
            raise NotARewardModelError(
                f"the server's model {model!r} (version {version}) carries no reward contract, so it isn't one that "
                "rewardserve exported. Remedy: check the model's name, or export it with `rewardserve export`"
            )
        return cls.from_json(text)
