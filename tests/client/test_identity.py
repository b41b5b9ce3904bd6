"""Which parts of a reward contract make another model of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from rewardserve import ContractError, Normalization, Parity, RewardContract, Tokenization
from rewardserve._identity import identity_of
from rewardserve._wire import FINGERPRINT_MODULUS
from support.contracts import make_contract

DECISIVE: dict[str, dict[str, Any]] = {
    "tokenizer_sha256": {"tokenizer_sha256": "1" * 64},
    "add_special_tokens": {"add_special_tokens": False},
    "adds_bos": {"adds_bos": True, "bos_token": "<s>"},
    "bos_token": {"bos_token": "<s>"},
    "strip_newlines": {"strip_newlines": True},
    "eos_suffix": {"eos_suffix": " </s>"},
    "eos_token": {"eos_token": "</s>"},
    "forced_last_id": {"forced_last_id": 1},
    "pair_separator": {"pair_separator": "\n"},
    "chat_template": {"chat_template": "{{ messages }}"},
    "template_tokens": {"template_tokens": {"pad_token": "<pad>"}},
    "chat_as_text": {"chat_as_text": True},
    "max_length": {"truncation": "left", "max_length": 9},
    "truncation": {"truncation": "left"},
    "vocab_size": {"vocab_size": 399},
    "normalization": {"normalization": Normalization()},
    "scored_token": {"scored_token": "first"},
    "labels": {"labels": ("helpful", "harmless")},
    "bidirectional": {"bidirectional": True},
    "padded": {"padded": True},
    "precision": {"precision": "bf16"},
    "graph": {"graph": "torchscript"},
    "architecture": {"architecture": "MistralModel"},
    "source_digest": {"source_digest": "1" * 64},
}
INDIFFERENT: dict[str, dict[str, Any]] = {
    "max_request_tokens": {"max_request_tokens": 100},
    "max_batch_tokens": {"max_batch_tokens": 5000},
    "values": {"values": True},
    "parity": {"parity": Parity(sequences=5, largest_difference=1e-6, batch_deviation=1e-6)},
}


def test_every_field_is_decided_about() -> None:
    fields = {field.name for kind in (RewardContract, Tokenization) for field in dataclasses.fields(kind)}
    assert DECISIVE.keys() | INDIFFERENT.keys() == fields - {"tokenization"}
    assert not DECISIVE.keys() & INDIFFERENT.keys()


def test_each_decisive_field_makes_another_model() -> None:
    identities = {name: make_contract(**changes).identity for name, changes in DECISIVE.items()}
    assert len({*identities.values(), make_contract().identity}) == len(DECISIVE) + 1
    assert all(0 <= identity < FINGERPRINT_MODULUS for identity in identities.values())


def test_another_normalization_is_another_model() -> None:
    normalizations = [None, Normalization(), Normalization(mean=1e-9), Normalization(std=2.0)]
    assert len({make_contract(normalization=each).identity for each in normalizations}) == 4


@pytest.mark.parametrize("changes", INDIFFERENT.values(), ids=INDIFFERENT.keys())
def test_a_replica_may_differ_in_the_others(changes: dict[str, Any]) -> None:
    assert make_contract(**changes) != make_contract()
    assert make_contract(**changes).identity == make_contract().identity


def test_the_length_decides_only_where_texts_are_cut() -> None:
    assert make_contract(max_length=9).identity == make_contract().identity


def test_another_meaning_of_the_fields_is_another_model() -> None:
    fields = dataclasses.asdict(make_contract())
    assert identity_of(fields, 1) != identity_of(fields, 2)


def test_it_survives_the_way_to_the_client() -> None:
    contract = make_contract(labels=("größer", "\ud800"), normalization=Normalization(mean=0.1, std=1 / 3))
    text = contract.to_json()
    assert json.loads(text)["identity"] == contract.identity
    assert RewardContract.from_json(text).identity == contract.identity


def test_a_contract_that_was_changed_after_the_export_is_refused() -> None:
    changed = json.dumps({**json.loads(make_contract().to_json()), "precision": "bf16"})
    with pytest.raises(ContractError, match=r"was changed after the export.*Remedy: export it again"):
        RewardContract.from_json(changed)
