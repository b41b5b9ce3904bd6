"""`client`: what the client costs, and what memory it takes, against a model that costs nothing."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._graphs import newest_version
from benchmarks._no_op_model import no_op_repository
from benchmarks._processes import Cores, pinned
from benchmarks._setup import Setup, say

__all__ = ["client"]

TEXTS = 10_000
"""Of the largest call."""
STREAMED = 200_000
"""Texts of a stream, and of the list against which it is measured."""
CHARACTERS = {"short": 260, "long": 860}
"""Of a text: about 60 and 200 tokens."""


def client(setup: Setup) -> dict[str, Any]:
    """Calls of many sizes, with what tokenization takes subtracted; then long streams, and one long list."""
    cores = Cores.chosen()
    with tempfile.TemporaryDirectory(prefix="rewardserve-client-") as scratch, pinned(cores.load):
        say("client: exporting a tiny model")
        repository = no_op_repository(setup.checkpoint, Path(scratch))
        corpus = Path(scratch, "corpus.txt")
        corpus.write_text("".join(setup.dialogues))
        with _serving(repository, cores) as url:
            given = {"url": url, "tokenizer": str(newest_version(repository) / "tokenizer.json"), "corpus": str(corpus)}
            calls = {}
            for name, characters in CHARACTERS.items():
                say(f"client: calls with {name} texts")
                calls[name] = _run("_client_calls", given, characters=characters, texts=TEXTS, runs=setup.runs)
            memory = {}
            for what in ("score_iter", "async_score_iter", "score"):
                say(f"client: memory of {what}")
                memory[what] = _run("_client_memory", given, characters=CHARACTERS["short"], texts=STREAMED, what=what)
    return {
        "what": (
            "a real tritonserver on one core, whose model answers zeros and right fingerprints; the client, in a "
            "process of its own, on another core. Microseconds a text, by the wall clock, and of the processor in all "
            "threads of the client; beyond_tokenization: less what the tokenizer alone took for the same texts in the "
            "same batches before and after, run by run. tritonclient sends prepared tensors and checks nothing. "
            "Memory: of the client's process, resident"
        ),
        "calls": calls,
        "memory": memory,
    }


@contextlib.contextmanager
def _serving(repository: Path, cores: Cores) -> Iterator[str]:
    from rewardserve_server import ServeOptions, TritonProcess

    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with pinned(frozenset([cores.server])):
        process = TritonProcess(options)
    with process:
        process.wait_until_ready()
        yield process.grpc_url


def _run(module: str, given: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Runs a module in a process of its own: it starts clean, and on the cores that this thread is pinned to."""
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps({**given, **options})]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result
