"""Keeping administration to those who have a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["GRPC_ADMIN_HEADER", "HTTP_ADMIN_HEADER"]

# What loads code, reads memory, or writes files on the server's machine. A reward client needs none of it.
_RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")

HTTP_ADMIN_HEADER = "admin-key"
# Triton puts the prefix before the name that it is told.
GRPC_ADMIN_HEADER = f"triton-grpc-protocol-{HTTP_ADMIN_HEADER}"

# What RFC 6750 allows in a token: nothing that a header or Triton's `protocols:header=key` would need quoted.
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def check_admin_key(key: str) -> None:
    """Refuses a key that can't be sent as a header.

    Raises:
        ValueError: It can't; the message doesn't repeat it.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("admin_key must consist of letters, digits and . _ ~ + / -, with = only at its end")


def restriction_flags(key: str, extra_args: Sequence[str]) -> list[str]:
    """The flags that restrict administration over gRPC and HTTP to requests with the key.

    Triton refuses to restrict a protocol twice, so one that `extra_args` restricts is left to it.

    Args:
        key: The key.
        extra_args: The user's own arguments for tritonserver.
    """
    flags = []
    for flag in ("--grpc-restricted-protocol", "--http-restricted-api"):
        theirs = {name for value in _values(flag, extra_args) for name in value.partition(":")[0].split(",")}
        ours = [name for name in _RESTRICTED if name not in theirs]
        if ours:
            flags.append(f"{flag}={','.join(ours)}:{HTTP_ADMIN_HEADER}={key}")
    return flags


def _values(flag: str, arguments: Sequence[str]) -> Iterator[str]:
    """The values of a flag, written `--flag=value` or `--flag value`."""
    for position, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name == flag:
            yield value if separator else "".join(arguments[position + 1 : position + 2])
