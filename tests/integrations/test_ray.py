"""`RewardScorer` in a real local Ray, against a real server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from rewardserve import ChatError, EmptyTextError, RewardClient, RewardServeError, ServerUnavailableError
from rewardserve.integrations.ray import RewardScorer
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.chat_templates import save_chat_template
from support.checkpoints import llama_config, save_huggingface
from transformers import LlamaForSequenceClassification

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray sets what Ray deprecates

TEXTS = [f"text {index} is {'good ' * (index % 9)}" for index in range(200)]
TEMPLATE = """
{%- for message in messages %}
{{ message.role }}: {{ message.content }}
{%- if 'tool_calls' in message %} calls {{ message.tool_calls | tojson }}{% endif %}
{%- endfor %}"""
CONVERSATIONS = [
    [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4."}],
    [
        {"role": "system", "content": "Use tools."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"name": "add", "arguments": {"a": 2}}, {"name": "weather", "arguments": {"city": "Ulm"}}],
        },
    ],
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose model has a chat template."""
    checkpoint, repository = save_huggingface(tmp_path_factory.mktemp("checkpoint")), tmp_path_factory.mktemp("served")
    save_chat_template(checkpoint, TEMPLATE)
    export(checkpoint, ExportOptions(repository=repository))
    with TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)) as process:
        process.wait_until_ready()
        yield process.grpc_url


@pytest.fixture
def client(url: str) -> Iterator[RewardClient]:
    with RewardClient(url) as client:
        yield client


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processors of this machine; its sockets need a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100_000_000,
            _temp_dir=directory,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


def scored(dataset: Any, actors: int = 1, form: str = "numpy", **arguments: Any) -> Any:
    compute = ray.data.ActorPoolStrategy(size=actors)
    return dataset.map_batches(
        RewardScorer,
        fn_constructor_kwargs=arguments,
        compute=compute,
        batch_size=16,
        batch_format=form,
        num_cpus=0.5,
    )


@pytest.mark.usefixtures("cluster")
def test_two_actors_score_as_one_client(url: str, client: RewardClient) -> None:
    items = [{"id": index, "text": text} for index, text in enumerate(TEXTS)]
    dataset = ray.data.from_items(items, override_num_blocks=8)
    rows = scored(dataset, actors=2, url=[url, url], output="score", timeout=60).take_all()
    assert sorted(row["id"] for row in rows) == list(range(len(TEXTS)))
    assert all(row["text"] == TEXTS[row["id"]] for row in rows)
    expected = client.score(TEXTS)
    np.testing.assert_allclose([row["score"] for row in rows], expected[[row["id"] for row in rows]], atol=1e-6)


@pytest.mark.usefixtures("cluster")
def test_conversations_with_different_keys(url: str, client: RewardClient) -> None:
    dataset = ray.data.from_items([{"chat": chat} for chat in CONVERSATIONS])
    result = scored(dataset, form="pyarrow", url=url, messages="chat").materialize()
    assert result.schema().types == [dataset.schema().types[0], pyarrow.float32()]
    rows = result.take_all()
    assert len(rows) == 2
    rewards = {row["chat"][0]["role"]: row["reward"] for row in rows}
    expected = client.score_chat(CONVERSATIONS)
    assert [rewards["user"], rewards["system"]] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.usefixtures("cluster")
def test_bad_row_is_named_across_processes(url: str) -> None:
    scorer = ray.remote(RewardScorer).remote(url)
    with pytest.raises(EmptyTextError) as caught:
        ray.get(scorer.__call__.remote({"text": np.array(["good", ""], dtype=object)}))
    assert caught.value.index == 1
    dataset = ray.data.from_items([{"text": "good"}, {"text": ""}])
    with pytest.raises(ray.exceptions.RayTaskError, match=r"item 1: is empty.*The row: \{'text': ''\}"):
        scored(dataset, url=url).take_all()


@pytest.mark.usefixtures("cluster")
def test_client_error_crosses_processes() -> None:
    @ray.remote
    def connect() -> None:
        RewardScorer("127.0.0.1:1", timeout=1)

    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"):
        ray.get(connect.remote())


def test_pairs(url: str, client: RewardClient) -> None:
    batch = {"q": np.array(["2 + 2? ", "3 + 3? "]), "a": np.array(["4.", "6."])}
    rewards = RewardScorer(url, prompt="q", response="a")(batch)["reward"]
    assert rewards.dtype == np.float32
    np.testing.assert_allclose(rewards, client.score_pairs(["2 + 2? ", "3 + 3? "], ["4.", "6."]), atol=1e-6)


def test_bad_conversation_shows_its_row(url: str) -> None:
    scorer = RewardScorer(url, messages="messages")
    with pytest.raises(ChatError, match=r"item 0: .*The row: \{'messages': \['long long.*…$") as caught:
        scorer(pyarrow.table({"messages": [["long " * 100]]}))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ({"prompt": np.array(["a"])}, "no column 'text'"),
        ({"text": np.array(["a"]), "reward": np.array([1])}, "already"),
    ],
)
def test_batch_of_other_columns_is_refused(url: str, batch: dict[str, Any], problem: str) -> None:
    with pytest.raises(RewardServeError, match=problem):
        RewardScorer(url)(batch)


def test_conversations_in_numpy_are_refused(url: str) -> None:
    with pytest.raises(RewardServeError, match='batch_format="pyarrow"'):
        RewardScorer(url, messages="chat")({"chat": np.array([None])})


def test_several_labels_in_arrow(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = save_huggingface(tmp_path / "c", LlamaForSequenceClassification(llama_config(num_labels=3)))
    export(checkpoint, ExportOptions(repository=tmp_path / "r"))
    with TritonProcess(ServeOptions(repository=tmp_path / "r", grpc_port=0, http_port=0, metrics_port=0)) as process:
        process.wait_until_ready()
        table = RewardScorer(process.grpc_url)(pyarrow.table({"text": TEXTS[:2]}))
        with RewardClient(process.grpc_url) as client:
            expected = client.score(TEXTS[:2])
    assert table.column("reward").type == pyarrow.list_(pyarrow.float32(), 3)
    np.testing.assert_allclose(table.column("reward").to_pylist(), expected, atol=1e-6)


@pytest.mark.parametrize("columns", [{"prompt": "a"}, {"text": "a", "messages": "b"}])
def test_columns_that_do_not_say_what_to_score(columns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Remedy: name one for text"):
        RewardScorer(**columns)
