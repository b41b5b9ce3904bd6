"""What Prometheus is told."""

from __future__ import annotations

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Metrics", "RequestMetrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class Metrics:
    """The gateway's own numbers, in a registry of their own.

    Attributes:
        requests: Requests answered, by route and status.
        seconds: How long they took, by route.
        under_way: Requests under way.
        texts: Texts, or token sequences, that got a reward, by route.
        tokens: Their tokens, by route.
        upstream_errors: Calls that Triton, or the way there, ended, by the error's type.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        prefix = "rewardserve_gateway"
        self.requests = Counter(
            f"{prefix}_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            f"{prefix}_request_seconds",
            "Seconds from a request to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.under_way = Gauge(f"{prefix}_requests_in_flight", "Requests under way.", registry=self._registry)
        self.texts = Counter(f"{prefix}_texts", "Texts that got a reward.", ["route"], registry=self._registry)
        self.tokens = Counter(f"{prefix}_tokens", "Tokens of these texts.", ["route"], registry=self._registry)
        self.upstream_errors = Counter(
            f"{prefix}_upstream_errors",
            "Calls that ended with an error of Triton's.",
            ["type"],
            registry=self._registry,
        )

    def response(self) -> Response:
        """All of them, in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class RequestMetrics:
    """Counts and times every request, those that other middlewares turn away included.

    Args:
        app: What serves the requests.
        metrics: Where they are counted.
        routes: The paths that are told apart; all others are `other`, or whoever scans for paths fills the memory.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self._routes else "other"
        status = 500  # where the app raises before it answers

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            with self._metrics.under_way.track_inprogress():
                await self._app(scope, receive, noting)
        finally:
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
