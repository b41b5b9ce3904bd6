"""Model repositories that a stranger made to hurt, each from a good one: what `check-repository` finds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from rewardserve._contract import FORMAT, contract_parameter
from rewardserve._identity import identity_of
from tritonclient.grpc.model_config_pb2 import ModelConfig

__all__ = ["CASES", "Case", "forged"]

Case = tuple[Callable[[Path], object], str]
"""Changes a good repository, and a part of the problem that is found."""

PARAMETER = contract_parameter(1)


def forged(text: str, **tokenization: Any) -> str:
    """A contract changed by somebody who knows how its identity is made."""
    fields = json.loads(text)
    fields["tokenization"] |= tokenization
    decisive = {name: value for name, value in fields.items() if name not in ("format", "identity")}
    return json.dumps({**fields, "identity": identity_of(decisive, FORMAT)})


def _config(change: Callable[[Any], object], model: str = "reward") -> Callable[[Path], object]:
    def spoil(repository: Path) -> None:
        file = repository / model / "config.pbtxt"
        config = text_format.Parse(file.read_text(), ModelConfig())
        change(config)
        file.write_text(text_format.MessageToString(config))

    return spoil


def _contract(change: Callable[[str], str]) -> Callable[[Path], object]:
    def replace(config: Any) -> None:
        parameter = config.parameters[PARAMETER]
        parameter.string_value = change(parameter.string_value)

    return _config(replace)


def _another_version(name: str) -> Callable[[Path], object]:
    """The contract of version 1 under another version's name, too."""

    def add(config: Any) -> None:
        config.parameters[contract_parameter(name)].string_value = config.parameters[PARAMETER].string_value

    return _config(add)


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(repository: Path) -> None:
        file = repository / "reward" / "1" / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))

    return spoil


def _listed(name: str) -> Callable[[Path], object]:
    return _manifest(lambda manifest: manifest["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))


def _fifo(name: str) -> Callable[[Path], object]:
    def spoil(repository: Path) -> None:
        (repository / name).unlink()
        os.mkfifo(repository / name)

    return spoil


def _grow(name: str) -> Callable[[Path], object]:
    return lambda repository: os.truncate(repository / name, 8 << 30)


CASES: dict[str, Case] = {
    "manifest: lists /etc/passwd": (_listed("/etc/passwd"), "/etc/passwd is no file of a repository"),
    "manifest: lists ../../etc/passwd": (_listed("reward/../../../etc/passwd"), "is no file of a repository"),
    "manifest: nested 100,000 deep": (
        lambda repository: (repository / "reward/1/manifest.json").write_text("[" * 100_000),
        "manifest.json can't be read",
    ),
    "manifest: 8 GiB": (_grow("reward/1/manifest.json"), "manifest.json can't be read"),
    "manifest: a FIFO": (_fifo("reward/1/manifest.json"), "manifest.json can't be read"),
    "config.pbtxt: a FIFO": (_fifo("reward_tokenizer/config.pbtxt"), "config.pbtxt can't be read"),
    "config.pbtxt: 8 GiB": (_grow("reward_tokenizer/config.pbtxt"), "config.pbtxt can't be read"),
    "config.pbtxt: default version ../../etc": (
        _config(
            lambda config: setattr(config.parameters["rewardserve_default_version"], "string_value", "../../etc"),
            "reward_tokenizer",
        ),
        "default version '../../etc'",
    ),
    "config.pbtxt: contract of version ../..": (_another_version("../.."), "[]"),
    "contract: tokenizer ../../../precious": (
        _contract(lambda text: forged(text, tokenizer_sha256="../../../precious")),
        "no sha256",
    ),
    "contract: tokenizer with a null byte": (
        _contract(lambda text: forged(text, tokenizer_sha256="\0")),
        "no sha256",
    ),
    "contract: nested 100,000 deep": (_contract(lambda _: "[" * 100_000), "maximum recursion depth"),
    "contract: max_length 2^70": (_contract(lambda text: forged(text, max_length=2**70)), "must be from 0 to"),
    "contract: eos_suffix that is a number": (
        _contract(lambda text: forged(text, eos_suffix=5)),
        "must be str | None",
    ),
}
