"""Servers under test: how they are started, asked, paused and stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._load import Session
from benchmarks._processes import Cores, ProcessTree, pinned
from benchmarks._setup import BenchmarkError

__all__ = ["ONE_THREAD", "HttpServer", "HttpSession", "Server", "ServerProcess", "free_port"]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_READY_SECONDS, _STOP_SECONDS, _REQUEST_SECONDS = 900.0, 15.0, 600.0


class Server(ABC):
    """A running server.

    Attributes:
        tree: Its processes.
    """

    tree: ProcessTree

    @abstractmethod
    def connect(self) -> Session:
        """A client of its own for one thread."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it, also when it is paused."""


class ServerProcess:
    """A process pinned to the server's core, with a log.

    Args:
        command: Its argument list.
        environment: On top of this process's.
        cores: Who runs where.
        log: File that gets what it prints.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cores: Cores, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with pinned(frozenset([cores.server])), log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **ONE_THREAD, **_OFFLINE, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.tree = ProcessTree(self._process.pid)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Waits until it answers.

        Raises:
            BenchmarkError: It ended, or doesn't answer in time.
        """
        try:
            self._wait(ready)
        except BaseException:
            self.stop()
            raise

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
                raise BenchmarkError(f"not ready; {self._log} ends with:\n{tail}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Asks it to end, and ends what is left of it."""
        pids = self.tree.pids()
        self.tree.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in pids[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class HttpSession:
    """A kept-alive connection that posts JSON.

    Args:
        port: Of the server.
        path: That scores.
        body: Sequences -> the request's body.
        rewards: The answer -> the rewards, in order.
    """

    def __init__(
        self,
        port: int,
        path: str,
        body: Callable[[Sequence[list[int]]], Any],
        rewards: Callable[[Any], list[float]],
    ) -> None:
        self._path, self._body, self._rewards = path, body, rewards
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        """Posts one request."""
        body = json.dumps(self._body(sequences))
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise BenchmarkError(f"{self._path} answers {response.status}: {content[:300]!r}")
        return self._rewards(json.loads(content))

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class HttpServer(Server):
    """A server process that is asked over HTTP.

    Args:
        process: It.
        port: Where it listens.
        health: Path that answers 200 once it is ready.
        path: As for `HttpSession`, as are the others.
    """

    def __init__(
        self,
        process: ServerProcess,
        port: int,
        health: str,
        path: str,
        body: Callable[[Sequence[list[int]]], Any],
        rewards: Callable[[Any], list[float]],
    ) -> None:
        self.tree = process.tree
        self._process, self._port = process, port
        self._exchange = (path, body, rewards)
        process.wait_until(lambda: _answers(port, health))

    def connect(self) -> HttpSession:
        """A connection."""
        return HttpSession(self._port, *self._exchange)

    def stop(self) -> None:
        """Ends the process."""
        self._process.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
