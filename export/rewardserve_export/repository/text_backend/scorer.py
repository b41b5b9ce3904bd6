"""Scores texts with a packed reward model, by its contract: the client's own code, without its connection.

Copied into the model repository by the export, beside the modules of rewardserve that it imports: needs numpy and
tokenizers.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rewardserve._answers import Rewards
from rewardserve._contract import RewardContract
from rewardserve._core import encode_texts, packed_requests
from rewardserve._errors import ServerError, TextTypeError, TruncationWarning
from rewardserve._packing import PackedRequest
from rewardserve._tokenizer import Encoder, load_tokenizer

__all__ = ["OUTPUTS", "TextScorer"]

OUTPUTS = Rewards.outputs
"""Of the reward model, that are needed."""

REQUESTS_IN_FLIGHT = 8
"""Of one call: enough to keep the reward model busy, and few enough that a large call leaves room for the others."""

THREADS = 32
"""Each waits for one request. Triton's Python backend has by default as many for one model's own requests."""

Infer = Callable[[PackedRequest], dict[str, bytes]]


class TextScorer:
    """Safe to share between threads.

    Args:
        directory: That holds the model's `contract.json` and `tokenizer.json`.
        infer: Has the reward model answer one request; returns the content of each output, by its name.

    Raises:
        ContractError: They can't be read, or don't belong together.
        ImportError: tokenizers isn't installed.
    """

    def __init__(self, directory: Path, infer: Infer) -> None:
        self._contract = RewardContract.from_json((directory / "contract.json").read_text())
        rules, file = self._contract.tokenization, directory / "tokenizer.json"
        self._encoder = Encoder(load_tokenizer(rules.tokenizer_sha256, file, file.read_bytes), rules)
        self._infer = infer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="infer")
        # Nobody reads the server's standard error for one call's texts; the contract tells that they are cut.
        warnings.simplefilter("ignore", TruncationWarning)

    def score(self, texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Scores texts as `RewardClient.score` does.

        Args:
            texts: Whole texts, in UTF-8.

        Returns:
            float32 [n], one reward a text, in order; [n, K] where the contract names K labels.

        Raises:
            InputError: A text isn't UTF-8, or can't be scored.
            ServerError: Some rewards are missing.
        """
        decoded = [_decode(index, text) for index, text in enumerate(texts)]
        sequences = encode_texts(self._encoder, decoded, self._contract)
        answers = Rewards.of(self._contract, len(sequences))
        under_way: deque[tuple[PackedRequest, Future[dict[str, bytes]]]] = deque()
        for packed in packed_requests(sequences, self._contract, workers=1, share_prefixes=True):
            if len(under_way) == REQUESTS_IN_FLIGHT:
                self._receive(*under_way.popleft(), answers)
            if answers.server_failed:
                break
            under_way.append((packed, self._threads.submit(self._infer, packed)))
        while under_way:
            self._receive(*under_way.popleft(), answers)
        return answers.result()

    def _receive(self, packed: PackedRequest, answer: Future[dict[str, bytes]], answers: Rewards) -> None:
        error: ServerError | None
        try:
            error = answers.take_raw(packed, answer.result())
            if error is not None and error.retriable:  # about other tokens than those sent: an accident
                error = answers.take_raw(packed, self._infer(packed))
        except ServerError as failure:
            error = failure
        if error is not None:
            answers.fail(error)


def _decode(index: int, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise TextTypeError(
            index, f"isn't UTF-8 (byte {error.start}: {error.reason}). Remedy: send it as UTF-8"
        ) from error
