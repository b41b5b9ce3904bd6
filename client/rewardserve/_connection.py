"""A gRPC connection to one Triton server, or to several alike: the calls that a reward client makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from tritonclient.grpc.service_pb2 import ModelConfigRequest, ModelInferRequest, ModelMetadataRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from rewardserve._channel import call_metadata, open_channel
from rewardserve._contract import DEFAULT_VERSION, is_version, tokenizer_model
from rewardserve._errors import ModelNotFoundError, NotARewardModelError, ServerError
from rewardserve._grpc_errors import translate
from rewardserve._tls import TLS

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

__all__ = ["Connection", "InferCall", "ModelSettings"]


_MOST_INSTANCES = 1024
"""More than a server has: what it says itself isn't taken for work to prepare."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What a client needs of a model's configuration.

    Attributes:
        parameters: The string parameters.
        instances: How many batches the server computes at a time, on all devices.
    """

    parameters: Mapping[str, str]
    instances: int


class InferCall:
    """An inference under way.

    Args:
        future: gRPC's.
        url: Where it was sent.
        model: The model that was asked.
    """

    def __init__(self, future: Any, *, url: str, model: str) -> None:
        self._future = future
        self._url = url
        self._model = model

    def result(self) -> ModelInferResponse:
        """Waits for the answer, at most until the call's deadline.

        Raises:
            ServerError: There is none.
        """
        try:
            return self._future.result()
        except grpc.RpcError as error:
            raise translate(error.code(), error.details(), url=self._url, model=self._model) from error
        except grpc.FutureCancelledError as error:
            raise translate(
                grpc.StatusCode.CANCELLED, self._future.details(), url=self._url, model=self._model
            ) from error

    def when_done(self, callback: Callable[[], None]) -> None:
        """Has the callback called, in a thread of gRPC's, once `result` doesn't wait any more."""
        self._future.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        """Tells the server that nobody waits for the answer."""
        self._future.cancel()


class Connection:
    """Safe to share between threads, as gRPC's channels are.

    Args:
        url: As for `RewardClient`.
        tls: As for `RewardClient`.
        token: As for `RewardClient`.
        headers: As for `RewardClient`.

    Attributes:
        url: For messages.
        replicas: Servers behind the connection.
    """

    def __init__(
        self, url: str | Sequence[str], *, tls: TLS | None, token: str | None, headers: Mapping[str, str] | None
    ) -> None:
        self._metadata = call_metadata(token, headers)
        opened = open_channel(url, tls)
        self.url = opened.url
        self.replicas = opened.replicas
        self._channel = opened.channel
        self._stub = GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection; calls under way end with an error."""
        self._channel.close()

    def find_version(self, model: str, wanted: str | None, timeout: float) -> str:
        """The version to use of those that the server has loaded.

        Args:
            model: Its name.
            wanted: This one; None takes the default: the one that was promoted, else the highest.
            timeout: Seconds that each question may take.

        Raises:
            ServerError: The server can't be reached, or doesn't serve the model or this version.
        """
        metadata = self._call(self._stub.ModelMetadata, ModelMetadataRequest(name=model), model, timeout)
        versions = [version for version in metadata.versions if is_version(version)]
        if not versions:
            raise ModelNotFoundError(
                f"{self.url} has no version of model {model!r} loaded. Remedy: see the server's log"
            )
        several = len(versions) > 1
        version = wanted or self._promoted_version(model, timeout, several=several) or max(versions, key=int)
        if version not in versions:
            which = "" if wanted else ", the default,"
            raise ModelNotFoundError(
                f"{self.url} hasn't loaded version {version}{which} of model {model!r}, but "
                f"{', '.join(sorted(versions, key=int))}. Remedy: `rewardserve promote` loads one; or name "
                "another version"
            )
        return version

    def _promoted_version(self, model: str, timeout: float, *, several: bool) -> str | None:
        companion = tokenizer_model(model)
        try:
            return self.settings(companion, "", timeout).parameters.get(DEFAULT_VERSION)
        except ModelNotFoundError as error:
            # A server that ends unloads it. Taking the highest of several versions would be a guess.
            if error.retriable and several:
                raise
            return None  # a repository without the companion: its clients bring the tokenizer

    def settings(self, model: str, version: str, timeout: float) -> ModelSettings:
        """A model's configuration.

        Raises:
            ServerError: The server can't be reached, or doesn't serve the model.
        """
        request = ModelConfigRequest(name=model, version=version)
        config = self._call(self._stub.ModelConfig, request, model, timeout).config
        # `count` instances on each of a group's GPUs; a group on the CPU names none.
        instances = sum(group.count * max(len(group.gpus), 1) for group in config.instance_group)
        return ModelSettings(
            parameters={name: parameter.string_value for name, parameter in config.parameters.items()},
            instances=min(max(instances, 1), _MOST_INSTANCES),
        )

    def infer(self, request: ModelInferRequest, timeout: float) -> InferCall:
        """Sends a request and returns at once.

        Raises:
            ServerError: The connection is closed. What else goes wrong is told by the call's result.
        """
        try:
            future = self._stub.ModelInfer.future(request, timeout=timeout, metadata=self._metadata)
        except ValueError as error:  # gRPC's answer on a closed channel
            raise _closed(error) from error
        return InferCall(future, url=self.url, model=request.model_name)

    def tokenizer(self, companion: str, sha256: str, timeout: float) -> bytes:
        """Gets a `tokenizer.json` from the companion model.

        Raises:
            ServerError: The server can't be reached, or has no such tokenizer.
            NotARewardModelError: The companion isn't one of ours.
        """
        request = ModelInferRequest(model_name=companion)
        request.inputs.add(name="sha256", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(sha256).to_bytes(4, "little") + sha256.encode())
        response = self._call(self._stub.ModelInfer, request, companion, timeout)
        if len(response.raw_output_contents) != 1:
            raise NotARewardModelError(
                f"model {companion!r} at {self.url} doesn't hand out tokenizers. Remedy: export the reward model "
                "again, or pass tokenizer="
            )
        # A BYTES tensor of one element: its length in four bytes, then itself.
        return bytes(response.raw_output_contents[0][4:])

    def _call(self, method: Any, request: Any, model: str, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except ValueError as error:  # gRPC's answer on a closed channel
            raise _closed(error) from error
        except grpc.RpcError as error:
            raise translate(error.code(), error.details(), url=self.url, model=model) from error


def _closed(error: ValueError) -> ServerError:
    return ServerError(f"this client is closed ({error}). Remedy: make a new RewardClient")
