"""A small FastAPI server that pads the sequences of a request to its longest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ids", "pad", "serve"]

Ids = npt.NDArray[np.int64]


def pad(sequences: Sequence[Sequence[int]], width: int, padding: int) -> tuple[Ids, Ids]:
    """Token ids [B, width], filled on the right, and their mask."""
    ids = np.full((len(sequences), width), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask


def serve(port: int, padding: int, score: Callable[[Ids, Ids], Any]) -> None:
    """Answers POST /score {"sequences": [[ids]]} with {"rewards": [...]}, one request after another.

    Args:
        port: On 127.0.0.1.
        padding: Id of the padding token.
        score: Ids and mask [B, T] -> rewards [B] or [B, 1].
    """
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    app = FastAPI()

    async def answer(request: Request) -> Any:
        sequences = (await request.json())["sequences"]
        rewards = score(*pad(sequences, max(map(len, sequences)), padding))
        return JSONResponse({"rewards": np.asarray(rewards, dtype=np.float64).reshape(-1).tolist()})

    app.add_route("/health", lambda _: JSONResponse({}), methods=["GET"])
    app.add_route("/score", answer, methods=["POST"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
