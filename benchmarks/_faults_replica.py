"""A tritonserver that dies and comes back on its port."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._processes import ProcessTree
from benchmarks._setup import MODEL, BenchmarkError

__all__ = ["Replica", "in_mid_call"]

_STUB = "triton_python_backend_stub"
_POLL_SECONDS = 0.02
_SECONDS = 120.0
"""Nothing here takes so long."""


class Replica:
    """One server, started by the constructor; its gRPC port stays the same however often it is started.

    Args:
        repository: What it serves.
        host: IPv4 address that it binds to.
        extra_args: For tritonserver.

    Attributes:
        url: `host:port`.
    """

    def __init__(self, repository: Path, *, host: str = "127.0.0.1", extra_args: tuple[str, ...] = ()) -> None:
        self._repository, self._host, self._extra_args, self._port = repository, host, extra_args, 0
        self.start()
        self.url: str = self._process.grpc_url
        self._port = int(self.url.rpartition(":")[2])

    def start(self, repository: Path | None = None) -> None:
        """Starts it, again, and waits until it is ready; with what it served at first, unless told otherwise."""
        from rewardserve_server import ServeOptions, TritonProcess

        options = ServeOptions(
            repository=repository or self._repository,
            host=self._host,
            grpc_port=self._port,
            http_port=0,
            metrics_port=0,
            extra_args=self._extra_args,
        )
        self._admin_key = options.admin_key
        self._process = TritonProcess(options)
        self._process.wait_until_ready()

    def kill(self) -> None:
        """Ends it by SIGKILL, at once."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ends it by SIGTERM, in order."""
        self._process.terminate()
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP, for it and its children."""
        ProcessTree(self._process.pid).pause()

    def resume(self) -> None:
        """SIGCONT."""
        ProcessTree(self._process.pid).resume()

    def reward_stub(self) -> int:
        """Process id of the Python backend's child that computes rewards: of all, the one that computed most."""
        stubs = [pid for pid in ProcessTree(self._process.pid).pids() if _STUB.startswith(_name(pid))]
        return max(stubs, key=lambda pid: ProcessTree(pid).cpu_seconds())

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

        metadata = ((GRPC_ADMIN_HEADER, self._admin_key),)
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


def _name(pid: int) -> str:
    """Of a process; the kernel keeps 15 characters."""
    return Path(f"/proc/{pid}/comm").read_text().strip()
