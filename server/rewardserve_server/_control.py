"""Loading, checking and watching the versions of a model on a running server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from rewardserve import TLS, ModelNotFoundError, ReleaseError, RewardClient, RewardContract
from rewardserve._channel import call_metadata, open_channel
from rewardserve._grpc_errors import translate
from rewardserve._manifest import Probes
from tritonclient.grpc.service_pb2 import (
    ModelMetadataRequest,
    ModelStatisticsRequest,
    RepositoryIndexRequest,
    RepositoryModelLoadRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from rewardserve_server._restrictions import GRPC_ADMIN_HEADER

__all__ = ["LoadedVersion", "ServerControl"]

_CALL_TIMEOUT = 60.0
_LOAD_TIMEOUT = 3600.0
"""Seconds. Some hundred GB from a network disk take that long; Triton answers when the model is ready."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class LoadedVersion:
    """A version that a server has loaded.

    Attributes:
        version: Its number.
        last_request: When it computed its last request, in seconds since the epoch; None if none since it was loaded.
    """

    version: str
    last_request: float | None


class ServerControl:
    """One running server, started with `--model-control explicit`.

    Args:
        url: `host:port` of its gRPC endpoint.
        admin_key: The server's.
        tls: As for `RewardClient`.
        token: As for `RewardClient`.
        headers: As for `RewardClient`.

    Attributes:
        url: As given.

    Raises:
        ValueError: A header can't be sent.
        OSError: A file of `tls` can't be read.
    """

    def __init__(
        self,
        url: str,
        *,
        admin_key: str | None = None,
        tls: TLS | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._client_arguments: dict[str, Any] = {"tls": tls, "token": token, "headers": headers}
        admin = {} if admin_key is None else {GRPC_ADMIN_HEADER: admin_key}
        self._metadata = call_metadata(token, {**(headers or {}), **admin})
        self._channel = open_channel(url, tls).channel
        self._stub = GRPCInferenceServiceStub(self._channel)

    def load(self, model: str) -> None:
        """Has the server read a model's configuration and versions again, and waits until they are ready.

        Requests under way, and those that come meanwhile, are computed by what was loaded before. If a version can't be
        loaded, that stays.

        Raises:
            ServerError: The server can't be reached, refuses, or can't load it.
        """
        self._call("RepositoryModelLoad", RepositoryModelLoadRequest(model_name=model), model, _LOAD_TIMEOUT)

    def loaded(self, model: str) -> list[LoadedVersion]:
        """The versions of a model that are ready.

        Raises:
            ServerError: The server can't be reached.
        """
        try:
            self._call("ModelMetadata", ModelMetadataRequest(name=model), model)
        except ModelNotFoundError:
            return []
        answer = self._call("ModelStatistics", ModelStatisticsRequest(name=model), model)
        return [
            LoadedVersion(version=each.version, last_request=each.last_inference / 1000 or None)
            for each in answer.model_stats
        ]

    def wait_until_unloaded(self, model: str, version: str, timeout: float = _LOAD_TIMEOUT) -> None:
        """Waits until a version that was given up has computed its last request.

        Raises:
            ServerError: The server can't be reached.
            ReleaseError: It still computes.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            index = self._call("RepositoryIndex", RepositoryIndexRequest(), model).models
            states = {each.state for each in index if (each.name, each.version) == (model, version)}
            if not states & {"READY", "UNLOADING"}:
                return
            time.sleep(_POLL_SECONDS)
        raise ReleaseError(f"{self.url} still computes with version {version} of {model}. Remedy: try again later")

    def verify(self, model: str, version: str, contract: RewardContract, probes: Probes) -> float:
        """Has a version score the manifest's sequences.

        Args:
            model: Its name.
            version: To ask, whatever the default is.
            contract: That it must be served with.
            probes: What it must score.

        Returns:
            The largest difference.

        Raises:
            ServerError: It can't be asked, or answers with another model's fingerprint.
            ReleaseError: The server has other files than the repository, or a reward is further off than allowed.
        """
        with RewardClient(self.url, model=model, version=version, **self._client_arguments) as client:
            if client.contract != contract:
                raise ReleaseError(
                    f"{self.url} serves version {version} of {model} by another contract than this repository's. "
                    "Remedy: give the --repository that the server reads, or copy it there first"
                )
            rewards = client.score_tokens(probes.sequences)
        difference = float(np.abs(rewards - np.array(probes.rewards, dtype=np.float32)).max())
        if not difference <= probes.tolerance:
            raise ReleaseError(
                f"{self.url} scores {difference:.3g} away from the manifest of version {version} of {model} "
                f"({probes.tolerance:.3g} allowed). Remedy: rewardserve check-repository; then the server's log"
            )
        return difference

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, request: Any, model: str, timeout: float = _CALL_TIMEOUT) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise translate(error.code(), error.details(), url=self.url, model=model) from error
