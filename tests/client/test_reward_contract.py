"""The reward contract and its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rewardserve import ContractError, Normalization, NotARewardModelError, RewardContract
from rewardserve._contract import FORMAT, contract_parameter

MakeContract = Callable[..., RewardContract]


@pytest.mark.parametrize("normalization", [None, Normalization(mean=-1.25, std=0.1)])
def test_json_round_trip(make_contract: MakeContract, normalization: Normalization | None) -> None:
    contract = make_contract(
        normalization=normalization,
        add_special_tokens=False,
        strip_newlines=True,
        eos_suffix=" </s>",
        eos_token="</s>",
        forced_last_id=1,
        truncation="left",
    )
    assert RewardContract.from_json(contract.to_json()) == contract


def test_the_exported_contract_is_the_one_that_the_client_reads(client: Any, exported: Any) -> None:
    assert client.contract == exported.contract
    assert client.version == exported.version


@pytest.mark.parametrize(
    ("written", "remedy"), [(FORMAT - 1, "export the model again"), (FORMAT + 1, "upgrade this client")]
)
def test_another_format_is_refused_by_number(make_contract: MakeContract, written: int, remedy: str) -> None:
    text = json.dumps({**json.loads(make_contract().to_json()), "format": written})
    with pytest.raises(ContractError, match=rf"format {written}, this client reads format {FORMAT}.*Remedy: {remedy}"):
        RewardContract.from_json(text)


def damage(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda fields: json.dumps({**fields, **changes})


def damage_tokenization(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda fields: json.dumps({**fields, "tokenization": {**fields["tokenization"], **changes}})


@pytest.mark.parametrize(
    "damaged",
    [
        lambda fields: json.dumps(fields)[:-5],
        lambda _: "",
        lambda _: "[]",
        lambda _: "1",
        lambda _: "{}",
        lambda fields: json.dumps({key: value for key, value in fields.items() if key != "vocab_size"}),
        damage(tokenization=None),
        damage(added_later=1),
        damage(parity={"sequences": 1}),
        damage(format="2"),
        lambda fields: json.dumps({key: value for key, value in fields.items() if key != "identity"}),
        damage(vocab_size=0),
        damage(vocab_size="400"),
        damage(scored_token="eos"),
        damage(max_request_tokens=7),
        damage(max_batch_tokens=1199),
        damage_tokenization(truncation="middle"),
        damage_tokenization(max_length=0),
        damage_tokenization(max_length=None),
    ],
)
def test_a_damaged_contract_is_refused(make_contract: MakeContract, damaged: Callable[[dict[str, Any]], str]) -> None:
    text = damaged(json.loads(make_contract().to_json()))
    with pytest.raises(ContractError, match=r"can't be read.*Remedy: export it again"):
        RewardContract.from_json(text)


def test_the_parameter_of_the_version_is_taken(make_contract: MakeContract) -> None:
    parameters = {contract_parameter(n): make_contract(vocab_size=n).to_json() for n in (1, 2, 10)}
    assert RewardContract.from_parameters(parameters, model="m", version="2").vocab_size == 2


def test_a_model_without_a_contract_is_named(make_contract: MakeContract) -> None:
    parameters = {contract_parameter(1): make_contract().to_json()}
    with pytest.raises(NotARewardModelError, match=r"'m' \(version 2\) carries no reward contract.*Remedy"):
        RewardContract.from_parameters(parameters, model="m", version="2")
