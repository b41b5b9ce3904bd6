from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# `serve` as the CLI calls it: in the main thread of a process of its own.
CODE = """
import sys
from pathlib import Path
from rewardserve_server import ServeOptions, _process, _serve, _stubs, serve

_serve._SETTLED_SECONDS = float(sys.argv[3])
_process._WATCH_SECONDS, _stubs._REAPED_SECONDS = 0.2, float(sys.argv[4])
options = ServeOptions(repository=Path(sys.argv[1]), grpc_port=0, http_port=0, metrics_port=0)
announce = lambda server: print(server.pid, server.http_url, flush=True)
sys.exit(serve(options, on_ready=announce, log_file=Path(sys.argv[2])))
"""


class Foreground:
    """A process that serves."""

    def __init__(self, repository: Path, log: Path, *seconds: float) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CODE, str(repository), str(log), *map(str, seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def server_pid(self) -> int:
        """Waits until the server is ready."""
        return self.ready()[0]

    def ready(self) -> tuple[int, str]:
        """The server's process id and its HTTP URL, each time that it is ready."""
        assert self.process.stdout is not None
        pid, url = self.process.stdout.readline().split()
        return int(pid), url

    def end(self) -> tuple[int, str]:
        """Waits for the end; the exit code and what was printed to stderr."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Foreground]]:
    started: list[Foreground] = []

    def run(repository: Path, settled_seconds: float = 60.0, reaped_seconds: float = 5.0) -> Foreground:
        started.append(Foreground(repository, tmp_path / "server.log", settled_seconds, reaped_seconds))
        return started[-1]

    yield run
    for foreground in started:
        foreground.process.kill()
        foreground.process.communicate()


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_server_in_order(
    start: Callable[[Path], Foreground], repository: Path, is_gone: Callable[[int], bool], signum: signal.Signals
) -> None:
    foreground = start(repository)
    pid = foreground.server_pid()
    foreground.process.send_signal(signum)
    assert foreground.end() == (0, "")
    assert is_gone(pid)
    assert "successfully unloaded 'double'" in foreground.log.read_text()


def test_second_signal_kills(
    start: Callable[[Path], Foreground], repository: Path, is_gone: Callable[[int], bool]
) -> None:
    foreground = start(repository)
    pid = foreground.server_pid()
    foreground.process.send_signal(signal.SIGINT)
    wait_for(lambda: "Signal (15) received" in foreground.log.read_text())
    foreground.process.send_signal(signal.SIGINT)
    assert foreground.end() == (137, "")
    assert is_gone(pid)


def test_signal_while_loading(
    start: Callable[[Path], Foreground], add_model: Callable[..., Path], tmp_path: Path
) -> None:
    foreground = start(
        add_model(tmp_path / "slow", "slow", initialize="import time; print('asleep', flush=True); time.sleep(60)")
    )
    wait_for(lambda: foreground.log.exists() and "asleep" in foreground.log.read_text())
    foreground.process.terminate()
    assert foreground.end() == (0, "")


def test_killed_parent_takes_the_server_with_it(
    start: Callable[[Path], Foreground], repository: Path, is_gone: Callable[[int], bool]
) -> None:
    foreground = start(repository)
    pid = foreground.server_pid()
    foreground.process.kill()
    wait_for(lambda: is_gone(pid), seconds=5.0)


def test_server_that_dies_is_an_error(start: Callable[[Path], Foreground], repository: Path) -> None:
    foreground = start(repository)
    subprocess.run(["kill", "-KILL", str(foreground.server_pid())], check=True)
    code, errors = foreground.end()
    assert code == 1
    assert "LaunchError: tritonserver failed, with exit code -9" in errors
    assert "Started HTTPService" in errors


def kill_stub(server: int) -> None:
    subprocess.run(["pkill", "-KILL", "-P", str(server), "-f", "triton_python_backend_stub"], check=True)


def test_server_that_lost_a_model_is_started_again(start: Callable[..., Foreground], repository: Path) -> None:
    """Triton goes on without the process, and calls the model ready: found out here, so that a change is noticed."""
    foreground = start(repository, settled_seconds=0.0)
    pid, url = foreground.ready()
    kill_stub(pid)
    for endpoint in ("health/ready", "models/double/ready"):
        with urllib.request.urlopen(f"{url}/v2/{endpoint}") as answer:
            assert answer.status == http.client.OK
    again, same_url = foreground.ready()
    assert (again != pid, same_url) == (True, url)
    foreground.process.terminate()
    code, warnings = foreground.end()
    assert code == 0
    assert (
        "tritonserver again: it ended, killed because a process of its Python backend had ended by SIGKILL" in warnings
    )


def test_server_that_dies_later_is_started_again(start: Callable[..., Foreground], repository: Path) -> None:
    foreground = start(repository, settled_seconds=0.0)
    pid, url = foreground.ready()
    os.kill(pid, signal.SIGABRT)
    again, same_url = foreground.ready()
    assert (again != pid, same_url) == (True, url)
    foreground.process.terminate()
    code, warnings = foreground.end()
    assert code == 0
    assert "starting tritonserver again: it ended, with exit code -6" in warnings


def test_model_that_dies_at_once_is_not_started_again(start: Callable[..., Foreground], repository: Path) -> None:
    foreground = start(repository, reaped_seconds=0.4)
    kill_stub(foreground.server_pid())
    code, errors = foreground.end()
    assert code == 1
    assert "had ended by SIGKILL, as the kernel does when memory runs out. Its log ends with" in errors
