"""The ASGI application: a page, and what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from rewardserve import RewardClient
from starlette.staticfiles import StaticFiles

from rewardserve_server.gateway._errors import handle_errors
from rewardserve_server.gateway._guards import BodyLimit
from rewardserve_server.playground import _pairs, _scoring
from rewardserve_server.playground._guards import OwnPageOnly, SafeHeaders
from rewardserve_server.playground._model import ServedModel

__all__ = ["create_app"]

_MODEL = "/api/model"
_PAGE = Path(__file__).parent / "page"
_MAX_BODY_BYTES = 32 << 20


def create_app(served: ServedModel, pairs: Path | None = None) -> FastAPI:
    """Makes the application.

    Args:
        served: Scores; it stays the caller's, who closes it.
        pairs: Preference data that the page offers to evaluate.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(title="rewardserve playground", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_scoring.scoring_router(served))
    app.include_router(_pairs.pairs_router(served, pairs))

    @app.get(_MODEL)
    def model() -> dict[str, Any]:
        with served.client() as client:
            client.ping()
            return {**_described(client), "pairs": None if pairs is None else pairs.name}

    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    handle_errors(app, {_scoring.PATH: _scoring.EXAMPLE, _pairs.PATH: _pairs.EXAMPLE})
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=_MAX_BODY_BYTES)
    app.add_middleware(OwnPageOnly)
    app.add_middleware(SafeHeaders)
    return app


def _described(client: RewardClient) -> dict[str, Any]:
    contract = client.contract
    return {
        "model": client.model,
        "version": client.version,
        "architecture": contract.architecture,
        "precision": contract.precision,
        "max_length": contract.tokenization.max_length,
        "truncation": contract.tokenization.truncation,
        "labels": contract.labels,
        "values": contract.values,
        "chat": contract.tokenization.chat_template is not None,
    }
