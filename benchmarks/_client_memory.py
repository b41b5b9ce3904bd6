"""The client's memory while it scores very many texts; run by `client` in a process of its own."""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rewardserve import AsyncRewardClient, RewardClient

from benchmarks._texts import random_cuts

__all__: list[str] = []

SAMPLES = 20


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Measures one way to score them."""
    count = options["texts"]
    texts = random_cuts(Path(options["corpus"]).read_text(), count, options["characters"])
    arguments = {"url": options["url"], "tokenizer": options["tokenizer"]}
    if options["what"] == "score":
        return _list(texts, arguments)
    samples = _Samples(count)
    if options["what"] == "score_iter":
        _stream(texts, arguments, samples)
    else:
        asyncio.run(_async_stream(texts, arguments, samples))
    return samples.figures()


class _Samples:
    """Resident memory, taken now and then.

    Args:
        count: Texts that there will be.
    """

    def __init__(self, count: int) -> None:
        self._every = max(1, count // SAMPLES)
        self._before = 0
        self._seen = 0
        self._taken: list[int] = []

    def start(self) -> None:
        """Before the first text, with the tokenizer in memory."""
        self._before = _resident()

    def reward(self) -> None:
        """One more reward is there."""
        self._seen += 1
        if self._seen % self._every == 0:
            self._taken.append(_status("VmRSS"))

    def figures(self) -> dict[str, Any]:
        """In MB, 10^6 bytes."""
        megabytes = [round(sample / 1e6, 2) for sample in self._taken]
        texts = self._every * np.arange(1, len(megabytes) + 1)
        half = len(megabytes) // 2
        return {
            "texts": self._seen,
            "mb_before": round(self._before / 1e6, 2),
            "mb_first": megabytes[0],
            "mb_middle": megabytes[half],
            "mb_last": megabytes[-1],
            "mb_most": max(megabytes),
            "mb_more_for_100000_texts": float(np.polyfit(texts[half:], megabytes[half:], 1)[0] * 100_000),
            "texts_per_sample": self._every,
            "samples_mb": megabytes,
        }


def _stream(texts: Iterator[str], arguments: dict[str, Any], samples: _Samples) -> None:
    with RewardClient(**arguments) as client:
        samples.start()
        for _ in client.score_iter(texts):
            samples.reward()


async def _async_stream(texts: Iterator[str], arguments: dict[str, Any], samples: _Samples) -> None:
    async def arriving() -> AsyncIterator[str]:
        for text in texts:
            yield text

    async with AsyncRewardClient(**arguments) as client:
        samples.start()
        async for _ in client.score_iter(arriving()):
            samples.reward()


def _list(texts: Iterator[str], arguments: dict[str, Any]) -> dict[str, Any]:
    with RewardClient(**arguments) as client:
        held = list(texts)
        before = _resident()
        Path("/proc/self/clear_refs").write_text("5")  # the peak, VmHWM, starts anew
        client.score(held)
        more = _status("VmHWM") - before
    return {
        "texts": len(held),
        "mb_of_the_list": round((sys.getsizeof(held) + sum(map(sys.getsizeof, held))) / 1e6, 2),
        "mb_more_at_the_peak": round(more / 1e6, 2),
        "bytes_more_a_text": round(more / len(held)),
    }


def _resident() -> int:
    """Bytes, without those that were freed and not given back, which what comes next would use first."""
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])
    raise KeyError(field)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
