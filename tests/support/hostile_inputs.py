"""Data and requests that a stranger made to hurt: what each gets."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FILES", "REQUESTS", "FileCase", "RequestCase"]

FileCase = tuple[str, Callable[[Path], object], str, str]
"""The file's name, what writes it, the error's class, a part of its message."""


def _write(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def _row(**fields: object) -> Callable[[Path], object]:
    return _write(json.dumps({"chosen": "a", "rejected": "b", **fields}))


def _zip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(20):
            stream.write(b" " * (8 << 20))


NESTED = "[" * 100_000

FILES: dict[str, FileCase] = {
    "preferences: nested 100,000 deep": (
        "a.jsonl",
        _write('{"chosen": ' + NESTED),
        "PreferencesError",
        "maximum recursion",
    ),
    "preferences: a line without an end, in a zip bomb": (
        "a.jsonl.gz",
        _zip_bomb,
        "PreferencesError",
        "more than 67,108,864",
    ),
    "preferences: a line of 8 GiB": (
        "a.jsonl",
        lambda path: (path.touch(), os.truncate(path, 8 << 30)),
        "PreferencesError",
        "more than 67,108,864",
    ),
    "preferences: 100,000 answers against 100,000": (
        "a.jsonl",
        _row(chosen=["a"] * 100_000, rejected=["b"] * 100_000),
        "PreferencesError",
        "has 100,000 answers",
    ),
    "preferences: a margin of 10^400": ("a.jsonl", _row(margin=10**400), "PreferencesError", "`margin`: is a number"),
    "preferences: a number of a million digits": (
        "a.jsonl",
        _write('{"margin": ' + "9" * 10**6 + "}"),
        "PreferencesError",
        "not JSON",
    ),
    "texts to score: nested 100,000 deep": (
        "a.texts",
        _write('{"text": ' + NESTED),
        "RewardServeError",
        "maximum recursion",
    ),
    "texts to score: a line of 8 GiB": (
        "a.texts",
        lambda path: (path.touch(), os.truncate(path, 8 << 30)),
        "RewardServeError",
        "more than 67,108,864",
    ),
}


@dataclass(frozen=True)
class RequestCase:
    """A hostile HTTP request to the gateway (`/get_reward`) or the playground (`/api/…`, and files).

    Attributes:
        status: Of the answer.
        path: Asked for.
        body: What is posted; None asks with GET.
        headers: Besides those of a good request.
    """

    status: int
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


_GATEWAY, _PLAYGROUND = "/get_reward", "/api/score"

REQUESTS: dict[str, RequestCase] = {
    "gateway: JSON nested 100,000 deep": RequestCase(400, _GATEWAY, b'{"query": ' + NESTED.encode()),
    "gateway: a number of a million digits": RequestCase(400, _GATEWAY, b'{"query": ' + b"9" * 10**6 + b"}"),
    "gateway: a million items that are no texts": RequestCase(422, _GATEWAY, b'{"query": [' + b"1," * 10**6 + b"1]}"),
    "gateway: a body announced as 100 GB": RequestCase(413, _GATEWAY, b"{}", {"Content-Length": "100000000000"}),
    "gateway: a body of 65 MiB": RequestCase(413, _GATEWAY, b" " * (65 << 20)),
    "gateway: JSON as text/plain, as any web page may post it": RequestCase(
        415, _GATEWAY, b'{"query": ["a"]}', {"Content-Type": "text/plain"}
    ),
    "gateway: what isn't UTF-8": RequestCase(400, _GATEWAY, b'{"query": ["\xff"]}'),
    "gateway: a wrong token": RequestCase(401, _GATEWAY, b'{"query": ["a"]}', {"Authorization": "Bearer wrong"}),
    "playground: JSON nested 100,000 deep": RequestCase(400, _PLAYGROUND, b'{"responses": ' + NESTED.encode()),
    "playground: a million items that are no texts": RequestCase(
        422, _PLAYGROUND, b'{"responses": [' + b"1," * 10**6 + b"1]}"
    ),
    "playground: a million messages without a role": RequestCase(
        422, _PLAYGROUND, b'{"responses": ["a"], "messages": [' + b"{}," * 10**6 + b"{}]}"
    ),
    "playground: a body of 33 MiB": RequestCase(413, _PLAYGROUND, b" " * (33 << 20)),
    "playground: a post from another page": RequestCase(
        403, _PLAYGROUND, b'{"responses": ["a"]}', {"Origin": "http://evil.example"}
    ),
    "playground: a post from no page": RequestCase(403, _PLAYGROUND, b'{"responses": ["a"]}', {"Origin": "null"}),
    "playground: a foreign name for this machine (DNS rebinding)": RequestCase(
        403, _PLAYGROUND, b'{"responses": ["a"]}', {"Host": "evil.example", "Origin": "http://evil.example"}
    ),
    "playground: JSON as text/plain": RequestCase(
        415, _PLAYGROUND, b'{"responses": ["a"]}', {"Content-Type": "text/plain"}
    ),
    "playground: /../../../../etc/passwd": RequestCase(404, "/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd"),
    "playground: //etc/passwd": RequestCase(404, "//etc/passwd"),
    "playground: a file's name with a null byte": RequestCase(404, "/page.js%00.png"),
    "playground: a file's name of 5,000 characters": RequestCase(404, "/" + "a" * 5000),
}
