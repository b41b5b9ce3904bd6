"""A running tritonserver."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rewardserve import LaunchError

from rewardserve_server._binary import find_tritonserver
from rewardserve_server._command import command, reserve_ports
from rewardserve_server._log import ServerLog
from rewardserve_server._options import ServeOptions
from rewardserve_server._repository import check_backends
from rewardserve_server._stubs import StubWatch
from rewardserve_server._tls import check_tls

__all__ = ["TritonProcess"]

_POLL_SECONDS = 0.02
_STUB_SECONDS = 4.0
_WATCH_SECONDS = 2.0
"""Between two looks at the stubs: clients try for minutes, and a look costs some milliseconds."""

# Becomes tritonserver, after asking the kernel (PR_SET_PDEATHSIG = 1) to send it SIGKILL = 9 when its parent ends.
# A preexec_fn could ask too, but runs Python in a fork of a process that may have threads, which can deadlock.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class TritonProcess:
    """A tritonserver, started by the constructor and stopped at the end of the `with` block.

    It can't outlive this process: when that ends in any way, the kernel kills the server. Nor does it outlive a process
    of its Python backend: with one dead, Triton would answer that model's requests with errors for ever.

    Args:
        options: What to serve, and where.
        log_file: Keeps what the server prints; by default it is kept only for `log_tail`.

    Attributes:
        grpc_url: `host:port` of the gRPC service, as tritonclient takes it.
        http_url: URL of the HTTP service.
        metrics_url: URL of the Prometheus metrics.
        ports: Those of the services; none is 0.
        pid: Process id of the server.
        lost_stub: How a process of the Python backend died, for which the server was killed; None while none has.

    Raises:
        LaunchError: The server can't be found or can't serve this repository, its certificate or key can't be used,
            or a port is in use.
        OSError: `log_file` can't be written.
    """

    def __init__(self, options: ServeOptions, *, log_file: Path | None = None) -> None:
        server = find_tritonserver(options.tritonserver)
        check_backends(options.repository, server)
        check_tls(options)
        self.ports = reserve_ports(options)
        self._ready_timeout = options.ready_timeout
        self._http_host = _reachable(options.http_host)
        self._http_port = self.ports.http_port
        self.grpc_url = f"{_reachable(options.host)}:{self.ports.grpc_port}"
        self.http_url = f"http://{self._http_host}:{self.ports.http_port}"
        self.metrics_url = f"http://{self._http_host}:{self.ports.metrics_port}/metrics"
        self._log = ServerLog(log_file)
        self._ended = threading.Event()
        self.lost_stub: str | None = None
        started: concurrent.futures.Future[subprocess.Popen[bytes]] = concurrent.futures.Future()
        # For the kernel "the parent" is the thread that started the process. This one lives as long as the server.
        threading.Thread(
            target=self._run,
            args=(command(options, server, self.ports), {**os.environ, **server.environment}, started),
            name="tritonserver",
            daemon=True,
        ).start()
        self._process = started.result()
        self.pid = self._process.pid

    def _run(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        started: concurrent.futures.Future[subprocess.Popen[bytes]],
    ) -> None:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log.descriptor,
                stderr=subprocess.STDOUT,
                # Out of the terminal's reach: a Ctrl-C comes from us, once.
                start_new_session=True,
            )
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        threading.Thread(target=self._watch, args=(process,), name="tritonserver stubs", daemon=True).start()
        process.wait()
        _end_group(process.pid)
        self._ended.set()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        stubs = StubWatch(process.pid)
        while self.lost_stub is None and not self._ended.wait(_WATCH_SECONDS):
            self.lost_stub = stubs.lost()
        if self.lost_stub is not None:
            process.kill()  # asked to end in order, it would wait for the dead one

    def wait_until_ready(self) -> None:
        """Waits until the server answers that it and all of its models are ready.

        Raises:
            LaunchError: The server ended, or isn't ready within the options' `ready_timeout` (and then still runs).
        """
        deadline = time.monotonic() + self._ready_timeout
        while not self._is_ready():
            if self._ended.wait(_POLL_SECONDS):
                raise LaunchError(f"tritonserver ended before it was ready, {self.describe_end()}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"tritonserver isn't ready after {self._ready_timeout:g} seconds. Its log ends with:\n"
                    f"{self.log_tail()}"
                )

    def _is_ready(self) -> bool:
        # Over HTTP: it opens after gRPC and after the models, a new connection each time never backs off, and unlike
        # gRPC it never asks for TLS. Ready means, by default, that no model failed to load.
        connection = http.client.HTTPConnection(self._http_host, self._http_port, timeout=1.0)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/v2/health/ready")
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    def terminate(self) -> None:
        """Asks the server to finish what it computes, and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server at once; the Python backend's stubs follow within a few seconds."""
        self._process.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Waits for the server's end, and returns its exit code, negative where a signal ended it."""
        self._ended.wait()
        return self._process.wait()

    def stop(self, timeout: float = 30.0) -> int:
        """Ends the server, if it still runs, and returns its exit code.

        Args:
            timeout: Seconds it gets to end in order, before it is killed.
        """
        self.terminate()
        if not self._ended.wait(timeout):
            self.kill()
        return self.wait()

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the server printed, without its tables and its usage text."""
        return self._log.tail(lines)

    def describe_end(self) -> str:
        """How the server ended, for an error message: its exit code or what it was killed for, and its last lines."""
        code = self.wait()
        how = f"with exit code {code}"
        if self.lost_stub is not None:
            how = f"killed because a process of its Python backend had ended {self.lost_stub}"
        return f"{how}. Its log ends with:\n{self.log_tail()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def _end_group(group: int) -> None:
    """Ends the stubs of a server that has ended.

    They notice by themselves and remove their shared memory; but one that computed while its server was killed may wait
    for it forever.
    """
    deadline = time.monotonic() + _STUB_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(_POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)
