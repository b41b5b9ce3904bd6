"""config.pbtxt, read by the real protobuf and by a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from rewardserve import ExportError, LaunchError
from rewardserve._contract import RewardContract
from rewardserve_export import ExportOptions, ExportSummary
from rewardserve_export.repository import Backend, read_config, reward_config
from rewardserve_server import ServeOptions, TritonProcess
from support.contracts import make_contract
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb

# As in the design, §2.
COMMON = """
name: "reward"
input [
  { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true },
  { name: "segments" data_type: TYPE_INT32 dims: [ -1, 2 ] allow_ragged_batch: true }
]
output [
  { name: "rewards" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "fingerprints" data_type: TYPE_INT32 dims: [ -1 ] }
]
dynamic_batching {
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 2
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 300000000
    allow_timeout_override: true
    max_queue_size: 4096
  }
}
instance_group [ { count: 1 } ]
parameters { key: "rewardserve_contract_1" value { string_value: "\\"quoted\\" \\\\ and\\nnew" } }
"""
STOCK = """
backend: "onnxruntime"
max_batch_size: 9
batch_input [
  { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "request_tokens"
    data_type: TYPE_INT32 source_input: "input_ids" },
  { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "request_segments"
    data_type: TYPE_INT32 source_input: "segments" }
]
batch_output [
  { target_name: "rewards" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "segments" },
  { target_name: "fingerprints" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "segments" }
]
"""
PYTHON = """
backend: "python"
max_batch_size: 64
"""
EARLIER = '"quoted" \\ and\nnew'

# Answers nothing: only what the server makes of the configuration is asked.
IDLE_MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""


CONTRACT = make_contract(max_request_tokens=1000, max_batch_tokens=9999)


def configuration(backend: Backend) -> Any:
    return reward_config("reward", backend, CONTRACT, version="12", earlier={"1": EARLIER})


def parse(text: str) -> Any:
    return text_format.Parse(text, pb.ModelConfig())


@pytest.mark.parametrize(("backend", "own"), [("onnxruntime", STOCK), ("python", PYTHON)])
def test_configuration_is_that_of_the_design(backend: Backend, own: str) -> None:
    written = text_format.MessageToString(configuration(backend))
    expected = parse(COMMON + own)
    expected.parameters["rewardserve_contract_12"].string_value = CONTRACT.to_json()
    assert parse(written) == expected


@pytest.mark.parametrize(("request_tokens", "batch_tokens", "size"), [(600, 600, 1), (600, 1199, 1), (600, 1200, 2)])
def test_stock_batches_always_fit(request_tokens: int, batch_tokens: int, size: int) -> None:
    contract = make_contract(max_request_tokens=request_tokens, max_batch_tokens=batch_tokens)
    config = reward_config("reward", "onnxruntime", contract, version="1", earlier={})
    assert config.max_batch_size == size


def test_published_file_holds_the_contract(exported: ExportSummary) -> None:
    config = parse((exported.path.parent / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("reward", "python", exported.max_batch_size)
    assert set(config.parameters) == {"rewardserve_contract_1"}
    text = config.parameters["rewardserve_contract_1"].string_value
    assert RewardContract.from_json(text) == exported.contract
    assert (exported.path / "contract.json").read_text() == text


@pytest.mark.parametrize("content", [b'name: "broken', b"of_tomorrow: 1", b"\xff\xfe\x00"])
def test_unreadable_configuration_is_an_error_of_ours(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_bytes(content)
    with pytest.raises(ExportError, match=r"config\.pbtxt can't be read"):
        read_config(tmp_path / "config.pbtxt")


def serve_configuration(config: Any, repository: Path) -> ServeOptions:
    """The server that tests have carries the Python backend only; the core checks a configuration for any backend."""
    config.backend = "python"
    version = repository / config.name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(IDLE_MODEL)
    (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
    return ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0, ready_timeout=60.0)


def test_server_accepts_the_stock_configuration(tmp_path: Path) -> None:
    config = configuration("onnxruntime")
    with TritonProcess(serve_configuration(config, tmp_path)) as process:
        process.wait_until_ready()
        with grpc.InferenceServerClient(process.grpc_url) as client:
            served = client.get_model_config("reward").config
    for field in ("name", "max_batch_size", "batch_input", "batch_output", "input", "output", "parameters"):
        assert getattr(served, field) == getattr(config, field), field
    assert served.dynamic_batching.max_queue_delay_microseconds == 100
    assert [group.count for group in served.instance_group] == [1]


def unknown_source_of_output(config: Any) -> None:
    config.batch_output[0].source_input[0] = "nothing"


def unknown_source_of_input(config: Any) -> None:
    config.batch_input[1].source_input[0] = "nothing"


def unknown_target(config: Any) -> None:
    config.batch_output[1].target_name[0] = "nothing"


@pytest.mark.parametrize("spoil", [unknown_source_of_output, unknown_source_of_input, unknown_target])
def test_server_refuses_a_broken_configuration(spoil: Callable[[Any], None], tmp_path: Path) -> None:
    """So that the test above can fail."""
    config = configuration("onnxruntime")
    spoil(config)
    with (
        TritonProcess(serve_configuration(config, tmp_path)) as process,
        pytest.raises(LaunchError, match="nothing"),
    ):
        process.wait_until_ready()


LIMITS: list[tuple[dict[str, int], int | None, tuple[int, int, int]]] = [
    ({}, 1024, (1024, 4096, 4096)),
    ({}, None, (8192, 32768, 32768)),
    ({}, 131072, (8192, 32768, 32768)),
    ({"max_length": 16384}, 131072, (16384, 65536, 65536)),
    ({"max_length": 100}, 1024, (100, 400, 400)),
    ({"max_request_tokens": 300}, 1024, (300, 300, 1200)),
    ({"max_batch_tokens": 300}, 1024, (300, 300, 300)),
    ({"max_length": 100, "max_request_tokens": 300}, None, (100, 300, 1200)),
    ({"max_length": 100, "max_batch_tokens": 250}, None, (100, 250, 250)),
    ({"max_length": 5, "max_request_tokens": 5, "max_batch_tokens": 5}, 5, (5, 5, 5)),
]


@pytest.mark.parametrize(("given", "positions", "expected"), LIMITS)
def test_limits_that_are_not_given_follow_from_the_others(
    given: dict[str, int], positions: int | None, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    limits = ExportOptions(repository=tmp_path, **given).limits(positions)  # type: ignore[arg-type]
    assert (limits.max_length, limits.max_request_tokens, limits.max_batch_tokens) == expected


def test_requests_to_a_stock_backend_hold_one_sequence_of_full_length(tmp_path: Path) -> None:
    limits = ExportOptions(repository=tmp_path, backend="onnxruntime").limits(1024)
    assert (limits.max_length, limits.max_request_tokens, limits.max_batch_tokens) == (1024, 1024, 4096)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_length": 2000}, "max_length 2000 is more than the backbone's 1024 positions"),
        ({"max_length": 200, "max_request_tokens": 100}, "max_length is 200, max_request_tokens 100"),
        ({"max_request_tokens": 200, "max_batch_tokens": 100}, "max_request_tokens 200 and max_batch_tokens 100"),
        ({"max_length": 200, "max_batch_tokens": 100}, "max_batch_tokens 100"),
    ],
)
def test_limits_that_contradict_are_refused(given: dict[str, int], message: str, tmp_path: Path) -> None:
    options = ExportOptions(repository=tmp_path, **given)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=message):
        options.limits(1024)


@pytest.mark.parametrize("name", ["max_length", "max_request_tokens", "max_batch_tokens"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_below_one_are_refused(name: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"{name} is {value}. Remedy: at least 1"):
        ExportOptions(repository=tmp_path, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["backend", "format", "precision", "truncation"])
def test_unknown_choices_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"{name} is 'tomorrow'. Remedy: one of"):
        ExportOptions(repository=tmp_path, **{name: "tomorrow"})  # type: ignore[arg-type]


def test_labels_and_values_have_outputs_of_their_own() -> None:
    contract = make_contract(labels=("helpful", "harmless"), values=True)
    config = reward_config("reward", "onnxruntime", contract, version="1", earlier={})
    assert {output.name: list(output.dims) for output in config.output} == {
        "rewards": [-1, 2],
        "fingerprints": [-1],
        "values": [-1],
    }
    sources = {output.target_name[0]: output.source_input[0] for output in config.batch_output}
    assert sources == {"rewards": "segments", "fingerprints": "segments", "values": "input_ids"}
