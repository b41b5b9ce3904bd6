"""A tritonserver that dies and comes back on its port."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from benchmarks._processes import ProcessTree
from benchmarks._setup import MODEL, BenchmarkError

__all__ = ["Replica", "in_mid_call"]

_STUB = "triton_python_backend_stub"
_POLL_SECONDS = 0.02
_SECONDS = 120.0
"""Nothing here takes so long."""


class Replica:
    """One server, started by the constructor; its ports stay the same however often it is started.

    Args:
        repository: What it serves.
        host: IPv4 address that it binds to.
        model_control: As for `ServeOptions`.

    Attributes:
        url: `host:port` of gRPC.
        http_url: URL of HTTP.
        admin_key: For model control.
    """

    def __init__(
        self, repository: Path, *, host: str = "127.0.0.1", model_control: Literal["none", "explicit"] = "none"
    ) -> None:
        from rewardserve_server import ServeOptions

        self._options = ServeOptions(
            repository=repository, host=host, grpc_port=0, http_port=0, metrics_port=0, model_control=model_control
        )
        self.start()
        self._options = dataclasses.replace(self._options, **self._process.ports._asdict())
        self.url: str = self._process.grpc_url
        self.http_url: str = self._process.http_url
        self.admin_key = self._options.admin_key

    def start(self, repository: Path | None = None) -> None:
        """Starts it, again, and waits until it is ready; with what it served at first, unless told otherwise."""
        from rewardserve_server import TritonProcess

        options = dataclasses.replace(self._options, repository=repository or self._options.repository)
        self._process = TritonProcess(options)
        self._process.wait_until_ready()

    def kill(self) -> None:
        """Ends it by SIGKILL, at once."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> bool:
        """Ends it by SIGTERM, in order; whether it did end, or had to be killed after a minute."""
        return self._process.stop(timeout=60.0) != -signal.SIGKILL

    def wait_for_end(self) -> None:
        """Waits until it has ended, for whatever reason."""
        self._process.wait()

    def death(self) -> str | None:
        """How it ended, and what it printed last; None if it runs."""
        return None if Path(f"/proc/{self.pid}").exists() else self._process.describe_end()

    def pause(self) -> None:
        """SIGSTOP, for it and its children."""
        ProcessTree(self.pid).pause()

    def resume(self) -> None:
        """SIGCONT."""
        ProcessTree(self.pid).resume()

    def reward_stub(self) -> int:
        """Process id of the Python backend's child that computes rewards, of the first version that is loaded."""
        return next(pid for name, pid in sorted(self.stubs().items()) if name.startswith(f"{MODEL}/"))

    def stubs(self) -> dict[str, int]:
        """Process ids of the Python backend's children, each under its model and version: `reward/1`."""
        found = {}
        for pid in ProcessTree(self.pid).pids():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if Path(command[0]).name == _STUB:
                    found["/".join(Path(command[1]).parts[-3:-1])] = pid
        return found

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self._process.pid

    def inferences(self) -> int:
        """Requests that it has answered since it was started."""
        with self.counting() as inferences:
            return inferences()

    @contextlib.contextmanager
    def counting(self) -> Iterator[Callable[[], int]]:
        """`inferences`, over a connection that stays."""
        from tritonclient.grpc.service_pb2 import ModelStatisticsRequest

        with self._stub() as stub:

            def inferences() -> int:
                (counted,) = stub.ModelStatistics(ModelStatisticsRequest(name=MODEL), timeout=_SECONDS).model_stats
                return int(counted.inference_count)

            yield inferences

    def reload(self, pause: float) -> None:
        """Unloads the model, and loads it again some seconds later."""
        from rewardserve_server import GRPC_ADMIN_HEADER
        from tritonclient.grpc.service_pb2 import RepositoryModelLoadRequest, RepositoryModelUnloadRequest

        metadata = ((GRPC_ADMIN_HEADER, self.admin_key),)
        with self._stub() as stub:
            unload = RepositoryModelUnloadRequest(model_name=MODEL)
            stub.RepositoryModelUnload(unload, timeout=_SECONDS, metadata=metadata)
            time.sleep(pause)
            load = RepositoryModelLoadRequest(model_name=MODEL)
            stub.RepositoryModelLoad(load, timeout=_SECONDS, metadata=metadata)

    @contextlib.contextmanager
    def _stub(self) -> Iterator[Any]:
        import grpc
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        with grpc.insecure_channel(self.url) as channel:
            yield GRPCInferenceServiceStub(channel)

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()


@contextlib.contextmanager
def in_mid_call(replica: Replica, action: Callable[[], None]) -> Iterator[None]:
    """Does something, in a thread, once the server has answered a first request; waits for its end.

    By then it has merged 64 others into a batch, and answers, and counts, none of them before all are computed.

    Raises:
        BenchmarkError: The call was over before.
    """
    before = replica.inferences()
    over = threading.Event()
    errors: list[Exception] = []

    def watch() -> None:
        try:
            with replica.counting() as inferences:
                while inferences() == before and not over.is_set():
                    time.sleep(_POLL_SECONDS)
            if over.is_set():
                raise BenchmarkError("the call was over before anything could happen to it")  # noqa: TRY301
            action()
        except Exception as error:  # told to the caller, which is another thread
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
