"""`POST /api/pairs`: preference data, each row with the rewards of its answers, and what they add up to."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from rewardserve import RewardServeError
from rewardserve_evaluation import (
    Answer,
    Conversation,
    Evaluation,
    EvaluationInterruptedError,
    Preference,
    PreferencesError,
    PromptedText,
    ScoredPreference,
    evaluate,
    read_preferences,
)

from rewardserve_server.gateway._errors import failure_response
from rewardserve_server.playground._model import ServedModel

__all__ = ["EXAMPLE", "MAX_ROWS", "PATH", "pairs_router"]

PATH = "/api/pairs"
EXAMPLE = '{"content": "{\\"chosen\\": \\"It is 4.\\", \\"rejected\\": \\"It is 5.\\"}"}'
MAX_ROWS = 2000
"""Rows of one table: more than anybody looks at, and minutes on a CPU. `rewardserve evaluate` has no such limit."""


class PairsRequest(BaseModel):
    """Preferences to evaluate."""

    content: str | None = Field(default=None, description="JSONL; null: the file that the playground was started with.")
    chat: bool = Field(default=False, description="Read a text prompt and its text answers as a conversation.")


def pairs_router(served: ServedModel, given: Path | None) -> APIRouter:
    """The route.

    Args:
        served: Scores the answers.
        given: The file that the playground was started with.
    """
    router = APIRouter()

    @router.post(PATH)
    def pairs(request: PairsRequest) -> JSONResponse:
        try:
            preferences = _read(request, given)
            with served.client() as client:
                evaluation = evaluate(preferences[:MAX_ROWS], client, skip_too_long=True)
        except EvaluationInterruptedError as error:
            return _interrupted(error)
        except PreferencesError as error:
            return failure_response(error, status=422)
        return JSONResponse({**_document(evaluation), "cut": len(preferences) > MAX_ROWS})

    return router


def _read(request: PairsRequest, given: Path | None) -> list[Preference]:
    if request.content is None:
        if given is None:
            raise PreferencesError("the playground", "was started without a file. Remedy: --pairs FILE")
        return read_preferences(given, limit=MAX_ROWS + 1, chat=request.chat)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pairs.jsonl"
        path.write_bytes(request.content.encode(errors="surrogatepass"))
        try:
            return read_preferences(path, limit=MAX_ROWS + 1, chat=request.chat)
        except PreferencesError as error:
            error.args = (str(error).replace(str(path), path.name),)  # nobody knows the directory
            raise


def _interrupted(error: EvaluationInterruptedError) -> JSONResponse:
    """The message says on which line; the cause, whose fault it is."""
    cause = error.__cause__
    status = failure_response(cause).status_code if isinstance(cause, RewardServeError) else None
    return failure_response(error, status)


def _document(evaluation: Evaluation) -> dict[str, Any]:
    return {**evaluation.to_json(), "table": [_row(row) for row in evaluation.scored]}


def _row(row: ScoredPreference) -> dict[str, Any]:
    return {
        "line": row.preference.line,
        "subset": row.preference.subset,
        "chosen": _answers(row.preference.chosen, row.chosen),
        "rejected": _answers(row.preference.rejected, row.rejected),
        "margin": row.margin,
        "correct": row.correct,
    }


def _answers(answers: Sequence[Answer], rewards: Sequence[float]) -> list[dict[str, Any]]:
    return [{**_shown(answer), "reward": reward} for answer, reward in zip(answers, rewards, strict=True)]


def _shown(answer: Answer) -> dict[str, Any]:
    """An answer as the page's own fields: a prompt or messages, and a response."""
    if isinstance(answer, PromptedText):
        return {"prompt": answer.prompt, "messages": None, "response": answer.response}
    if isinstance(answer, Conversation):
        *messages, last = answer.messages
        return {"prompt": "", "messages": messages, "response": last["content"]}
    return {"prompt": "", "messages": None, "response": answer}
