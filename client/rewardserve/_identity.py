"""The identity of a served model: one number for everything in its reward contract that decides rewards.

The exported graph adds it to every fingerprint. So a client notices, at every reward and without a call of its own,
when the server behind its connection was restarted with another model under the same name and version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rewardserve._wire import FINGERPRINT_MODULUS

__all__ = ["identity_of"]

_INDIFFERENT = frozenset({"max_request_tokens", "max_batch_tokens", "values", "parity"})
"""What a replica may have otherwise: how much it takes at once, what else it answers, and what was measured."""


def identity_of(contract: Mapping[str, Any], generation: int) -> int:
    """A number from 0 to 2^31 - 2: equal for two exports of one checkpoint with the same options, else another.

    Two models have the same one by chance once in 2^31 times.

    Args:
        contract: A reward contract's fields, those inside it as mappings of their own.
        generation: Number of the contract's format: what its fields mean.
    """
    decisive: dict[str, Any] = {name: value for name, value in contract.items() if name not in _INDIFFERENT}
    tokenization = dict(decisive["tokenization"])
    if tokenization["truncation"] == "error":  # then it refuses texts, and changes none
        del tokenization["max_length"]
    decisive |= {"tokenization": tokenization, "generation": generation}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") % FINGERPRINT_MODULUS
