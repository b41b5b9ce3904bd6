"""A tritonserver in the foreground."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rewardserve import LaunchError

from rewardserve_server._options import ServeOptions
from rewardserve_server._process import TritonProcess

__all__ = ["serve"]

_SETTLED_SECONDS = 60.0
"""A server that dies earlier would only die again."""

_logger = logging.getLogger(__name__)


class _StopRequests:
    """Handles the signals that ask for the end: the first ends the server in order, the second kills it."""

    def __init__(self) -> None:
        self.count = 0
        self._forwarded = 0
        self._server: TritonProcess | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        self._forward()

    def forward_to(self, server: TritonProcess) -> None:
        """Names the server; what came while it was being started reaches it now."""
        self._server, self._forwarded = server, 0
        self._forward()

    def _forward(self) -> None:
        # A signal may interrupt this very loop, so each one is counted before it is passed on.
        while self._server is not None and self._forwarded < self.count:
            self._forwarded += 1
            if self._forwarded == 1:
                self._server.terminate()
            else:
                self._server.kill()


@contextlib.contextmanager
def _handling_signals() -> Iterator[_StopRequests]:
    requests = _StopRequests()
    previous = {signum: signal.signal(signum, requests) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def serve(
    options: ServeOptions,
    *,
    on_ready: Callable[[TritonProcess], None] | None = None,
    log_file: Path | None = None,
) -> int:
    """Runs tritonserver until it is told to stop, by SIGINT or SIGTERM to this process.

    The first signal lets it finish what it computes, a second one kills it. To be called from the main thread,
    where Python handles signals. A server that dies, or is killed because it lost a process of its Python backend,
    later than a minute after it was ready is started again, on the same ports, with a warning of the logger
    `rewardserve_server._serve`.

    Args:
        options: What to serve, and where.
        on_ready: Called once every model is ready, at each start.
        log_file: Keeps what the server prints; behind a restart, what it has printed since.

    Returns:
        An exit code for this process: 0 after a stop in order, also one before the server was ready; else the
        server's, as a shell would give it (137 when it was killed, 1 when requests outlasted Triton's exit timeout).

    Raises:
        LaunchError: The server can't be started, or died within a minute without being told to stop.
        OSError: `log_file` can't be written.
    """
    with _handling_signals() as requests:
        while True:
            with TritonProcess(options, log_file=log_file) as server:
                requests.forward_to(server)
                settled = _run(server, requests, on_ready)
            if requests.count or not settled or server.wait() == 0:
                return _exit_code(server, requests)
            _logger.warning("starting tritonserver again: it ended, %s", server.describe_end())
            options = dataclasses.replace(options, **server.ports._asdict())


def _run(server: TritonProcess, requests: _StopRequests, on_ready: Callable[[TritonProcess], None] | None) -> bool:
    """Waits for the server's end; whether it had been ready for long by then."""
    try:
        server.wait_until_ready()
    except LaunchError:
        if not requests.count:
            raise
        server.wait()
        return False
    began = time.monotonic()
    if on_ready is not None:
        on_ready(server)
    server.wait()
    return time.monotonic() - began > _SETTLED_SECONDS


def _exit_code(server: TritonProcess, requests: _StopRequests) -> int:
    code = server.wait()
    if code and not requests.count:
        raise LaunchError(f"tritonserver failed, {server.describe_end()}")
    # Before its own handler is in place, SIGTERM ends it as any process.
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else 128 - code
