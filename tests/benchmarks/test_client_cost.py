"""The benchmark of the client, with few texts: the no-op model passes for a real one, and every figure is there."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks import _client
from benchmarks._client_table import client_tables
from benchmarks._setup import Settings, Setup


def test_every_figure_is_there(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dialogues = tmp_path / "preferences.jsonl.gz"
    with gzip.open(dialogues, "wt") as lines:
        lines.write(json.dumps({"chosen": " ".join(map(str, range(3000))), "rejected": "no"}))
    settings = Settings(
        checkpoint=checkpoint,
        data=dialogues,
        repository=None,
        model="checkpoint",
        servers=(),
        runs=1,
        plots=None,
        size=None,
        minutes=1.0,
    )
    monkeypatch.setattr(_client, "TEXTS", 40)
    monkeypatch.setattr(_client, "STREAMED", 600)
    result = _client.client(Setup(settings, tmp_path))
    assert result["calls"]["long"]["tokens_per_text"] > 3 * result["calls"]["short"]["tokens_per_text"]
    for calls in result["calls"].values():
        for name in ("score of 1", "score of 40", "score_tokens of 40", "score_iter", "tritonclient, infer of 1"):
            assert calls[name]["wall"]["median"] >= calls[name]["wall_beyond_tokenization"]["median"]
            assert calls[name]["processor"]["median"] > 0
    for name in ("score_iter", "async_score_iter"):
        stream = result["memory"][name]
        assert stream["texts"] == 600
        assert len(stream["samples_mb"]) == 20
        assert stream["mb_most"] >= stream["mb_last"] > 0
    assert result["memory"]["score"]["texts"] == 600
    assert result["memory"]["score"]["mb_of_the_list"] > 0.1
    short, long, memory = client_tables(result)
    assert short.row_count == long.row_count == 9
    assert memory.row_count == 2
