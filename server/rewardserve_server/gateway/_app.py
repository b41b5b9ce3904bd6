"""The ASGI application."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from rewardserve import AsyncRewardClient, RewardServeError
from starlette.responses import Response

from rewardserve_server.gateway import _classify, _openrlhf
from rewardserve_server.gateway._errors import failure_response, handle_errors
from rewardserve_server.gateway._guards import BodyLimit, ConcurrencyLimit, TokenGuard
from rewardserve_server.gateway._metrics import Metrics, RequestMetrics
from rewardserve_server.gateway._options import GatewayOptions
from rewardserve_server.gateway._upstream import Upstream

__all__ = ["create_app"]

HEALTH = "/health"
METRICS = "/metrics"


def create_app(client: AsyncRewardClient, options: GatewayOptions) -> FastAPI:
    """Makes the application, for `run_gateway` or any other ASGI server.

    Args:
        client: Scores the texts, connected or not; it stays the caller's, who closes it.
        options: Whom to let in, and how much; `host` and `port` aren't used here.
    """
    metrics = Metrics()
    upstream = Upstream(client, timeout=options.timeout, metrics=metrics)
    app = FastAPI(
        title="rewardserve gateway",
        version=version("rewardserve"),
        summary="Rewards of a model that Triton serves, for callers that speak HTTP.",
        # FastAPI's pages load their scripts from other hosts.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_openrlhf.get_reward_router(upstream))
    app.include_router(_classify.classify_router(upstream))
    _add_operation_routes(app, upstream, metrics)
    handle_errors(app, {_openrlhf.PATH: _openrlhf.EXAMPLE, _classify.PATH: _classify.EXAMPLE})
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=options.max_body_bytes)
    app.add_middleware(ConcurrencyLimit, max_concurrent=options.max_concurrent)
    if options.token is not None:
        app.add_middleware(TokenGuard, token=options.token)
    routes = frozenset({_openrlhf.PATH, _classify.PATH, HEALTH, METRICS})
    app.add_middleware(RequestMetrics, metrics=metrics, routes=routes)
    return app


def _add_operation_routes(app: FastAPI, upstream: Upstream, metrics: Metrics) -> None:
    @app.get(HEALTH, tags=["Operation"])
    async def health() -> JSONResponse:
        """Whether Triton serves the model: 200, or 503 with the reason."""
        try:
            await upstream.check()
        except RewardServeError as error:
            return failure_response(error, status=503)
        return JSONResponse({"status": "ready", "model": upstream.model})

    @app.get(METRICS, tags=["Operation"])
    async def prometheus() -> Response:
        """Metrics in Prometheus' text format."""
        return metrics.response()
