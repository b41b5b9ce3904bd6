"""What a caller is told when its call fails: the one place where errors become HTTP.

OpenRLHF's callers try five times, a second apart, whatever the status is; verl's try a 5xx again and give up at a 4xx.
So what the caller must mend is a 4xx, and what may pass by itself is a 5xx, with `Retry-After` where soon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from rewardserve import (
    ContractError,
    DeadlineExceededError,
    InputError,
    ModelNotFoundError,
    RewardServeError,
    ServerError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from starlette.exceptions import HTTPException

__all__ = ["error_response", "failure_response", "handle_errors"]

_STATUS: tuple[tuple[type[RewardServeError], int], ...] = (
    (InputError, 422),
    (ServerOverloadedError, 503),
    (ServerUnavailableError, 503),
    (ModelNotFoundError, 503),  # a server that starts again loads its models after it opens its port
    (DeadlineExceededError, 504),
    (ServerError, 502),
    (ContractError, 502),
)
_MAX_FLAWS = 3
"""Flaws of a body that are listed; a list of numbers has one an item."""

_REASONS = {
    "missing": "is missing",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "model_attributes_type": "must be an object",
}
"""Pydantic's types of error, in this project's words."""


def error_response(
    status: int, kind: str, message: str, *, index: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The form of every error: vLLM's, with the item's index where one item is to blame."""
    error: dict[str, Any] = {"type": kind, "message": message, "code": status}
    if index is not None:
        error["index"] = index
    return JSONResponse(
        {"error": error}, status, headers={**({"Retry-After": "1"} if status == 503 else {}), **(headers or {})}
    )


def failure_response(error: RewardServeError, status: int | None = None) -> JSONResponse:
    """The response for a call that ended with an error of ours, which decides the status unless one is given."""
    status = status or next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    index = error.index if isinstance(error, InputError) else None
    return error_response(status, type(error).__name__, str(error), index=index)


def handle_errors(app: FastAPI, examples: Mapping[str, str]) -> None:
    """Has every error of the app answered in one form.

    Args:
        app: The application.
        examples: A good body for each path, shown to whoever sends another.
    """

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RewardServeError)
        return failure_response(error)

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        remedy = f"Remedy: send a body like {examples[request.url.path]}"
        if "json" not in request.headers.get("content-type", ""):
            return error_response(
                415,
                "UnsupportedMediaType",
                f"the body isn't JSON by its Content-Type. {remedy}, with Content-Type: application/json",
            )
        return error_response(422, "InvalidRequest", f"{_flaws(error.errors())}. {remedy}")

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return error_response(error.status_code, "HTTPError", str(error.detail), headers=error.headers)

    app.add_exception_handler(RewardServeError, failed)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)


def _flaws(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong where; what was sent isn't repeated, it may be long and nobody else's business."""
    shown = "; ".join(f"{_place(error)}: {_reason(error)}" for error in errors[:_MAX_FLAWS])
    return shown + (f"; and {len(errors) - _MAX_FLAWS} more" if len(errors) > _MAX_FLAWS else "")


def _place(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "the body"
    _, *path = error["loc"]
    return "".join(f"[{step}]" if isinstance(step, int) else str(step) for step in path) or "the body"


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"isn't JSON ({error['ctx']['error']})"
    return _REASONS.get(error["type"]) or str(error["msg"])
