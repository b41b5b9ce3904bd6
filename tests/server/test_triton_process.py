from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardserve import LaunchError
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_server._stubs import _zombies
from support.metrics import metrics_page
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException


def test_infers_over_grpc(server: TritonProcess) -> None:
    x = triton.InferInput("x", [3], "FP32")
    x.set_data_from_numpy(np.array([1.0, 2.5, -3.0], np.float32))
    with triton.InferenceServerClient(server.grpc_url) as client:
        assert client.is_model_ready("double")
        result = client.infer("double", [x], client_timeout=30.0)
    np.testing.assert_array_equal(result.as_numpy("y"), np.array([2.0, 5.0, -6.0], np.float32))


def test_urls_answer(server: TritonProcess) -> None:
    with urllib.request.urlopen(f"{server.http_url}/v2", timeout=10) as answer:
        assert b"triton" in answer.read()
    assert "nv_inference_request_success" in metrics_page(server)


def test_runs_in_its_own_session(server: TritonProcess) -> None:
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_log_tail_leaves_out_tables(server: TritonProcess) -> None:
    assert "Started HTTPService" in server.log_tail()
    assert "server_extensions" not in server.log_tail(1000)
    assert len(server.log_tail(3).splitlines()) == 3


def test_ports_of_a_running_server_are_refused(server: TritonProcess, repository: Path) -> None:
    port = int(server.grpc_url.rpartition(":")[2])
    with pytest.raises(LaunchError, match=f"{port} can't be bound"):
        TritonProcess(ServeOptions(repository=repository, grpc_port=port, http_port=0, metrics_port=0))


def test_model_that_fails_to_load(
    add_model: Callable[..., Path], tmp_path: Path, free_ports: dict[str, Any], is_gone: Callable[[int], bool]
) -> None:
    add_model(tmp_path, "bad", initialize="raise RuntimeError('the weights are on holiday')")
    with TritonProcess(ServeOptions(repository=tmp_path, **free_ports)) as process:
        with pytest.raises(LaunchError, match=r"exit code 1.*\n(.*\n)*.*the weights are on holiday"):
            process.wait_until_ready()
        assert is_gone(process.pid)


def test_not_ready_in_time(add_model: Callable[..., Path], tmp_path: Path, free_ports: dict[str, Any]) -> None:
    add_model(tmp_path, "slow", initialize="import time; print('asleep', flush=True); time.sleep(60)")
    log = tmp_path / "server.log"
    options = ServeOptions(repository=tmp_path, ready_timeout=0.5, **free_ports)
    with TritonProcess(options, log_file=log) as process:
        with pytest.raises(LaunchError, match=r"isn't ready after 0\.5 seconds"):
            process.wait_until_ready()
        assert process.stop() == -signal.SIGTERM
    assert "loading: slow:1" in log.read_text()


def test_one_model_that_failed_is_not_ready(
    add_model: Callable[..., Path], tmp_path: Path, free_ports: dict[str, Any]
) -> None:
    add_model(tmp_path, "good")
    add_model(tmp_path, "bad", initialize="raise RuntimeError")
    options = ServeOptions(repository=tmp_path, ready_timeout=3.0, extra_args=("--exit-on-error=false",), **free_ports)
    with TritonProcess(options) as process:
        with pytest.raises(LaunchError, match="isn't ready after 3 seconds"):
            process.wait_until_ready()
        with triton.InferenceServerClient(process.grpc_url) as client:
            assert client.is_model_ready("good")
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_any_name_of_a_process_is_read() -> None:
    """The kernel cuts names at 15 bytes, in mid-character."""
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'ab\\xe6\\x97'); print(flush=True); input()"  # PR_SET_NAME
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert b"ab\xe6\x97" in Path(f"/proc/{other.pid}/stat").read_bytes()
        assert _zombies(os.getpid()) == {}
        other.communicate(b"\n")


def answers(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_model_ready("good"))
    except InferenceServerException:  # its port isn't open yet
        return False


def test_server_outlives_a_model_that_cannot_load(
    add_model: Callable[..., Path], tmp_path: Path, free_ports: dict[str, Any]
) -> None:
    """Its process is a zombie until Triton asks for its exit code: not one that is lost."""
    add_model(tmp_path, "good")
    add_model(tmp_path, "ends", initialize="import os; os._exit(3)")
    options = ServeOptions(repository=tmp_path, extra_args=("--exit-on-error=false",), **free_ports)
    with TritonProcess(options) as process, triton.InferenceServerClient(process.grpc_url) as client:
        died = False
        deadline = time.monotonic() + 30
        while (zombies := _zombies(process.pid)) or not died:
            died = died or bool(zombies)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while not answers(client):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.lost_stub is None


def test_stop_kills_a_server_that_does_not_end(
    repository: Path, free_ports: dict[str, Any], is_gone: Callable[[int], bool]
) -> None:
    with TritonProcess(ServeOptions(repository=repository, **free_ports)) as process:
        process.wait_until_ready()
        stubs = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(process.pid)]).split()]
        assert stubs
        assert process.stop(timeout=0.1) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not all(map(is_gone, stubs)):
        assert time.monotonic() < deadline, "the stubs outlived the server"
        time.sleep(0.05)


def test_wrong_argument_is_reported(repository: Path, free_ports: dict[str, Any]) -> None:
    options = ServeOptions(repository=repository, extra_args=("--no-such-flag",), **free_ports)
    with TritonProcess(options) as process, pytest.raises(LaunchError, match="unrecognized option '--no-such-flag'"):
        process.wait_until_ready()
