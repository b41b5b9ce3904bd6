"""What calls of the client cost beyond tokenization; run by `client` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rewardserve import AsyncRewardClient, RewardClient

from benchmarks._setup import MODEL
from benchmarks._summary import summary
from benchmarks._texts import random_cuts

__all__: list[str] = []

WINDOW = 256
"""Texts that `score_iter` tokenizes at a time."""
CHUNK = 1024
"""Texts that `score` tokenizes at a time."""
CONCURRENT = 256
CALLS = 256
"""Calls of one text, one after another, in a run; other cases have sixteen times as many texts, or all."""

Cost = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to use the client.

    Attributes:
        texts: How many one run scores.
        run: Scores them.
        batch: Texts that the client tokenizes at a time; None if none.
        costs: Microseconds of a text in each run, [2]: by the wall clock, and of the processor.
        beyond: The same less the tokenizer's.
    """

    texts: int
    run: Callable[[], object]
    batch: int | None
    costs: list[Cost] = field(default_factory=list)
    beyond: list[Cost] = field(default_factory=list)


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Runs all cases in turn."""
    from tokenizers import Tokenizer

    texts = list(random_cuts(Path(options["corpus"]).read_text(), options["texts"], options["characters"]))
    tokenizer = Tokenizer.from_file(options["tokenizer"])
    loop = asyncio.new_event_loop()
    with RewardClient(options["url"], tokenizer=options["tokenizer"]) as client, closing(loop):
        asynchronous = AsyncRewardClient(options["url"], tokenizer=options["tokenizer"])
        sequences = client.tokenize(texts)
        cases = _cases(options["url"], client, asynchronous, loop, texts, [ids.tolist() for ids in sequences])
        for turn in range(-1, options["runs"]):
            for case in cases.values():
                # On both sides: a machine that slows down meanwhile slows both down.
                before = _tokenization(tokenizer, texts[: case.texts], case.batch)
                cost = _cost(case.run, case.texts)
                after = _tokenization(tokenizer, texts[: case.texts], case.batch)
                if turn >= 0:  # the first round warms up
                    case.costs.append(cost)
                    case.beyond.append(cost - (before + after) / 2)
        loop.run_until_complete(asynchronous.close())
    return {
        "tokens_per_text": float(np.mean([ids.size for ids in sequences])),
        "characters_per_text": options["characters"],
        **{name: _figures(case) for name, case in cases.items()},
    }


def _cases(
    url: str,
    client: RewardClient,
    asynchronous: AsyncRewardClient,
    loop: asyncio.AbstractEventLoop,
    texts: list[str],
    sequences: list[list[int]],
) -> dict[str, Case]:
    few, many = min(CALLS, len(texts)), min(16 * CALLS, len(texts))

    async def concurrently() -> None:
        for batch in _batches(texts[:many], CONCURRENT):
            await asyncio.gather(*(asynchronous.score([text]) for text in batch))

    def calls(method: Callable[[Any], object], items: Sequence[Any], size: int) -> Case:
        return Case(
            texts=len(items),
            run=lambda: [method(batch) for batch in _batches(items, size)],
            batch=min(size, CHUNK) if method == client.score else None,
        )

    return {
        "tritonclient, infer of 1": Case(texts=few, run=_stock_calls(url, sequences[:few]), batch=None),
        "score of 1": calls(client.score, texts[:few], 1),
        "score of 16": calls(client.score, texts[:many], 16),
        "score of 256": calls(client.score, texts[:many], 256),
        f"score of {len(texts)}": calls(client.score, texts, len(texts)),
        "score_tokens of 1": calls(client.score_tokens, sequences[:few], 1),
        f"score_tokens of {len(texts)}": calls(client.score_tokens, sequences, len(texts)),
        "score_iter": Case(texts=len(texts), run=lambda: sum(1 for _ in client.score_iter(texts)), batch=WINDOW),
        f"async score of 1, {CONCURRENT} at a time": Case(
            texts=many, run=lambda: loop.run_until_complete(concurrently()), batch=1
        ),
    }


def _stock_calls(url: str, sequences: Sequence[list[int]]) -> Callable[[], object]:
    """What NVIDIA's client takes to send each sequence: the rest of a small call is ours."""
    from tritonclient.grpc import InferenceServerClient, InferInput

    client = InferenceServerClient(url)
    prepared = []
    for ids in sequences:
        tensors = {"input_ids": np.array([ids], np.int32), "segments": np.array([[[len(ids), 0]]], np.int32)}
        inputs = [InferInput(name, tensor.shape, "INT32") for name, tensor in tensors.items()]
        for entry, tensor in zip(inputs, tensors.values(), strict=True):
            entry.set_data_from_numpy(tensor)
        prepared.append(inputs)
    return lambda: [client.infer(MODEL, inputs).as_numpy("rewards") for inputs in prepared]


def _tokenization(tokenizer: Any, texts: list[str], batch: int | None) -> Cost:
    if batch is None:
        return np.zeros(2)

    def tokenize() -> None:
        for part in _batches(texts, batch):
            tokenizer.encode_batch_fast(part)

    return _cost(tokenize, len(texts))


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _cost(run: Callable[[], object], texts: int) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()  # of all threads
    run()
    seconds = np.array([time.perf_counter() - wall, time.process_time() - processor])
    return seconds * (1e6 / texts)


def _figures(case: Case) -> dict[str, Any]:
    wall, processor = np.transpose(case.costs).tolist()
    wall_beyond, processor_beyond = np.transpose(case.beyond).tolist()
    return {
        "texts_per_second": summary([1e6 / microseconds for microseconds in wall]),
        "wall": summary(wall),
        "wall_beyond_tokenization": summary(wall_beyond),
        "processor": summary(processor),
        "processor_beyond_tokenization": summary(processor_beyond),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
