"""Our own server, in each configuration that an export can have."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._models import Model
from benchmarks._processes import Cores, ProcessTree, pinned
from benchmarks._servers import ONE_THREAD, Server
from benchmarks._setup import MODEL, BenchmarkError, say

__all__ = ["CONFIGURATIONS", "Configuration", "OurServer", "exported"]

MAX_LENGTH = 2048


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What an export is asked for; everything else is left at its default, as users get it.

    Attributes:
        format: Of the graph.
        backend: Of Triton.
        precision: Of weights and activations.
    """

    format: str
    backend: str
    precision: str

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.format}/{self.backend}/{self.precision}"


CONFIGURATIONS = tuple(
    Configuration(format=form, backend="python", precision=precision)
    for form, precision in (
        ("torchscript", "bf16"),
        ("torchscript", "int8"),
        ("torchscript", "fp32"),
        ("onnx", "int8"),
        ("onnx", "fp32"),
    )
)


class OurServer(Server):
    """A tritonserver with an export; every thread uses the same RewardClient, as the client's users do.

    Args:
        model: The checkpoint.
        configuration: How it is exported.
        cores: Who runs where.
        log: File that gets what it prints.
    """

    def __init__(self, model: Model, configuration: Configuration, cores: Cores, log: Path) -> None:
        from rewardserve import RewardClient
        from rewardserve_server import ServeOptions, TritonProcess

        options = ServeOptions(repository=exported(model, configuration), grpc_port=0, http_port=0, metrics_port=0)
        log.parent.mkdir(parents=True, exist_ok=True)
        with pinned(frozenset([cores.server])), _environment(ONE_THREAD):
            self._process = TritonProcess(options, log_file=log)
        self.tree = ProcessTree(self._process.pid)
        try:
            self._process.wait_until_ready()
            self._client = RewardClient(self._process.grpc_url, model=MODEL)
        except BaseException:
            self._process.stop()
            raise

    def connect(self) -> _OurSession:
        """The client, shared."""
        return _OurSession(self._client)

    def stop(self) -> None:
        """Closes the client and ends the server."""
        self.tree.resume()
        self._client.close()
        self._process.stop()


class _OurSession:
    def __init__(self, client: Any) -> None:
        self._client = client

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        rewards: list[float] = self._client.score_tokens(sequences).tolist()
        return rewards

    def close(self) -> None:
        """Others use the client still."""


def exported(model: Model, configuration: Configuration) -> Path:
    """A repository with the export, made once for each state of the sources and kept beside the checkpoint.

    Raises:
        BenchmarkError: This version can't export that.
    """
    from rewardserve import RewardServeError
    from rewardserve_export import ExportOptions, export

    repository = model.beside("exports") / f"{configuration.name.replace('/', '-')}-{_sources_digest()}"
    if repository.is_dir():
        return repository
    unfinished = repository.with_name(f"{repository.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    say(f"exporting {model.name} as {configuration.name}")
    choices: dict[str, Any] = {
        "format": configuration.format,
        "backend": configuration.backend,
        "precision": configuration.precision,
    }
    try:
        export(model.directory, ExportOptions(repository=unfinished, name=MODEL, max_length=MAX_LENGTH, **choices))
    except RewardServeError as error:
        raise BenchmarkError(f"can't be exported: {error}") from error
    return unfinished.rename(repository)


def _sources_digest() -> str:
    import rewardserve
    import rewardserve_export

    digest = hashlib.sha256()
    for package in (rewardserve, rewardserve_export):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*")):
            if file.is_file() and file.parent.name != "__pycache__":
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
