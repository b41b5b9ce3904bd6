"""PyTriton with a torch callable: how NeMo-Aligner serves reward models."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._models import Model
from benchmarks._processes import Cores
from benchmarks._servers import Server, ServerProcess, free_port
from benchmarks.peers._start import MODULES, environment
from benchmarks.peers.apps._padded import pad

__all__ = ["PyTritonServer"]

_TIMEOUT_SECONDS = 600.0


class PyTritonServer(Server):
    """Padded by the client to a power of two, so that Triton can merge requests.

    Args:
        model: What is served, in bfloat16.
        precision: Always bf16.
        cores: Who runs where.
        log: File that gets what it prints.
    """

    def __init__(self, model: Model, precision: str, cores: Cores, log: Path) -> None:
        bin_directory = environment("pytriton")
        grpc, http, metrics = free_port(), free_port(), free_port()
        self._url, self._padding = f"127.0.0.1:{grpc}", int(model.config["pad_token_id"])
        python = str(bin_directory / "python")
        ports = [str(grpc), str(http), str(metrics)]
        command = [python, "-m", "benchmarks.peers.apps.pytriton_app", str(model.directory), *ports]
        self._process = ServerProcess(command, {**MODULES, **_stub_environment(bin_directory)}, cores, log)
        self.tree = self._process.tree
        self._process.wait_until(self._ready)

    def connect(self) -> _PyTritonSession:
        """A gRPC connection."""
        return _PyTritonSession(self._url, self._padding)

    def stop(self) -> None:
        """Ends the process."""
        self._process.stop()

    def _ready(self) -> bool:
        from tritonclient.grpc import InferenceServerClient
        from tritonclient.utils import InferenceServerException

        with InferenceServerClient(self._url) as client:
            try:
                return bool(client.is_model_ready("reward"))
            except InferenceServerException:
                return False


class _PyTritonSession:
    def __init__(self, url: str, padding: int) -> None:
        from tritonclient.grpc import InferenceServerClient

        self._client, self._padding = InferenceServerClient(url), padding

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        """Pads to a power of two, and sends one request."""
        from tritonclient.grpc import InferInput

        width = 1 << (max(map(len, sequences)) - 1).bit_length()
        tokens, _ = pad(sequences, width, self._padding)
        lengths = np.array([[len(sequence)] for sequence in sequences], dtype=np.int64)
        inputs = []
        for name, array in (("tokens", tokens), ("lengths", lengths)):
            inputs.append(InferInput(name, list(array.shape), "INT64"))
            inputs[-1].set_data_from_numpy(array)
        answer = self._client.infer("reward", inputs, client_timeout=_TIMEOUT_SECONDS)
        rewards: list[float] = answer.as_numpy("rewards")[:, 0].tolist()
        return rewards

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def _stub_environment(bin_directory: Path) -> dict[str, str]:
    """Triton's stub takes the interpreter from PATH, and must load that interpreter's own libpython."""
    ask = [str(bin_directory / "python"), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    libraries = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH")])),
        "PATH": os.pathsep.join([str(bin_directory), os.environ["PATH"]]),
    }
