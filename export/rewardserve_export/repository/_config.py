"""config.pbtxt, written with the protobuf that tritonclient ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format
from rewardserve import _wire
from rewardserve._contract import RewardContract, contract_parameter, is_version
from rewardserve._errors import ExportError
from tritonclient.grpc import model_config_pb2 as pb

from rewardserve_export.repository._scheduling import Scheduling, add_warmup, dynamic_batching, instance_group

__all__ = [
    "STOCK_BACKENDS",
    "Backend",
    "contracts_in",
    "read_config",
    "reward_config",
    "scores_texts_of",
    "text_config",
    "tokenizer_config",
    "write_config",
]

Backend = Literal["python", "onnxruntime", "pytorch"]

STOCK_BACKENDS: dict[str, Backend] = {"onnx": "onnxruntime", "torchscript": "pytorch"}
"""Triton's own backend for each format of a graph."""

THREADS = "threads"
"""The parameter that the Python backend's `model.py` reads."""

REWARD_MODEL = "reward_model"
"""The parameter of a companion that scores texts: with which model."""

_DEFAULT_SCHEDULING = Scheduling()

_MOST_BYTES = 64 << 20
"""Of a configuration: a contract, of some kilobytes, for each version."""

PYTHON_MAX_BATCH_SIZE = 64
"""Requests handed over at once; the backend itself cuts them into runs of at most max_batch_tokens."""

SPREAD_MAX_BATCH_SIZE = 4
"""With several instances: of more, Triton hands all that waits to one of them, while the others have nothing to do."""


def reward_config(
    name: str,
    backend: Backend,
    contract: RewardContract,
    *,
    version: str,
    earlier: Mapping[str, str],
    threads: int | None = None,
    scheduling: Scheduling = _DEFAULT_SCHEDULING,
) -> Any:
    """The configuration of a reward model, with the wire contract's tensors.

    Args:
        name: Of the model.
        backend: `python`, or a stock one.
        contract: Of the version to serve.
        version: Its number.
        earlier: The contracts, as JSON, of the other versions in the repository.
        threads: Of each instance, on the Python backend; None leaves it to the server.
        scheduling: Copies, queue, warm-up.
    """
    stock = backend != "python"
    # A stock backend counts requests, not tokens: it may merge as many as always fit into a run. None, where a short
    # sequence of one request would be padded to a long one of another.
    fitting = 1 if contract.padded else contract.max_batch_tokens // contract.max_request_tokens
    most = fitting if stock else PYTHON_MAX_BATCH_SIZE
    config = pb.ModelConfig(
        name=name,
        backend=backend,
        platform="pytorch_libtorch" if backend == "pytorch" else "",
        max_batch_size=min(most, SPREAD_MAX_BATCH_SIZE) if scheduling.copies > 1 else most,
        input=[
            pb.ModelInput(name=_wire.INPUT_IDS, data_type=pb.TYPE_INT32, dims=[-1], allow_ragged_batch=True),
            pb.ModelInput(name=_wire.SEGMENTS, data_type=pb.TYPE_INT32, dims=[-1, 2], allow_ragged_batch=True),
        ],
        output=[
            pb.ModelOutput(name=_wire.REWARDS, data_type=pb.TYPE_FP32, dims=[-1, *_label_dims(contract)]),
            pb.ModelOutput(name=_wire.FINGERPRINTS, data_type=pb.TYPE_INT32, dims=[-1]),
        ],
        dynamic_batching=dynamic_batching(scheduling),
        instance_group=[instance_group(scheduling)],
    )
    if contract.values:
        config.output.add(name=_wire.VALUES, data_type=pb.TYPE_FP32, dims=[-1])
    if stock:
        _scatter(config)
    if threads is not None:
        config.parameters[THREADS].string_value = str(threads)
    contracts = {**earlier, version: contract.to_json()}
    for number, text in contracts.items():
        config.parameters[contract_parameter(number)].string_value = text
    if scheduling.warmup:
        add_warmup(config, contracts.values())
    return config


def _label_dims(contract: RewardContract) -> list[int]:
    return [len(contract.labels)] if contract.labels else []


def _scatter(config: Any) -> None:
    """How a stock backend concatenates requests and cuts the answers apart. The Python backend does both itself."""
    for target, source in ((_wire.REQUEST_TOKENS, _wire.INPUT_IDS), (_wire.REQUEST_SEGMENTS, _wire.SEGMENTS)):
        config.batch_input.add(
            kind=pb.BatchInput.BATCH_ACCUMULATED_ELEMENT_COUNT,
            target_name=[target],
            data_type=pb.TYPE_INT32,
            source_input=[source],
        )
    for output in config.output:
        config.batch_output.add(
            target_name=[output.name],
            kind=pb.BatchOutput.BATCH_SCATTER_WITH_INPUT_SHAPE,
            source_input=[_wire.INPUT_IDS if output.name == _wire.VALUES else _wire.SEGMENTS],
        )


def tokenizer_config(name: str) -> Any:
    """The configuration of the companion model that hands out tokenizers."""
    return pb.ModelConfig(
        name=name,
        backend="python",
        input=[pb.ModelInput(name="sha256", data_type=pb.TYPE_STRING, dims=[1])],
        output=[pb.ModelOutput(name="tokenizer_json", data_type=pb.TYPE_STRING, dims=[1])],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
    )


def text_config(name: str, reward_model: str, contract: RewardContract) -> Any:
    """The configuration of the companion model that scores texts.

    Args:
        name: Of the companion.
        reward_model: What it scores with.
        contract: Of the version to serve.
    """
    config = pb.ModelConfig(
        name=name,
        backend="python",
        input=[pb.ModelInput(name="text", data_type=pb.TYPE_STRING, dims=[-1])],
        output=[pb.ModelOutput(name=_wire.REWARDS, data_type=pb.TYPE_FP32, dims=[-1, *_label_dims(contract)])],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
    )
    config.parameters[REWARD_MODEL].string_value = reward_model
    return config


def scores_texts_of(config: Any, reward_model: str) -> bool:
    """Whether a configuration is that of the companion which scores texts with a reward model."""
    return REWARD_MODEL in config.parameters and config.parameters[REWARD_MODEL].string_value == reward_model


def contracts_in(config: Any) -> dict[str, str]:
    """The contracts, as JSON, that a configuration holds, by version: a directory's name, so nothing but digits."""
    prefix = contract_parameter("")
    return {
        version: parameter.string_value
        for key, parameter in config.parameters.items()
        if key.startswith(prefix) and is_version(version := key.removeprefix(prefix))
    }


def read_config(path: Path) -> Any:
    """Reads a config.pbtxt.

    Raises:
        ExportError: It isn't one.
    """
    try:
        _require_file(path)
        return text_format.Parse(path.read_text(), pb.ModelConfig())
    except (OSError, ValueError, text_format.ParseError) as error:
        raise ExportError(
            f"{path} can't be read ({error}). Remedy: mend or remove that model, or use another --name"
        ) from error


def _require_file(path: Path) -> None:
    """Opening a FIFO would wait for its writer."""
    if path.exists() and (not path.is_file() or path.stat().st_size > _MOST_BYTES):
        raise ValueError(f"it is no file of at most {_MOST_BYTES:,} bytes")


def write_config(config: Any, path: Path) -> None:
    """Writes a config.pbtxt."""
    path.write_text(text_format.MessageToString(config))
