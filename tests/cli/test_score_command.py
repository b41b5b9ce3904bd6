from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess

if TYPE_CHECKING:
    from conftest import Run

TEXTS = ["2 + 2 is 4.", "Grüße, 世界 🎉", "a\u2028b\u0085c\x0bd"]


def jsonl(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rewards_in(output: str) -> list[float]:
    return [json.loads(line)["reward"] for line in output.split("\n") if line]


def test_texts(run: Run, server: TritonProcess, client: RewardClient) -> None:
    outcome = run("score", "--url", server.grpc_url, *TEXTS)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [json.loads(line) for line in outcome.out.split("\n") if line]
    assert [row["text"] for row in rows] == TEXTS
    np.testing.assert_allclose([row["reward"] for row in rows], client.score(TEXTS), atol=1e-6)


def test_texts_on_a_terminal(script: Path, server: TritonProcess, client: RewardClient) -> None:
    texts = ["[bold]not[/] markup [/]", ":smile:"]
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb"}
    subprocess.run([script, "score", "--url", server.grpc_url, *texts], stdout=child, env=environment, check=True)
    os.close(child)
    screen = os.read(parent, 100_000).decode()
    os.close(parent)
    cells = [[cell.strip() for cell in line.split("│")] for line in screen.splitlines() if line.startswith("│")]
    assert [row[2] for row in cells] == texts
    assert [float(row[1]) for row in cells] == pytest.approx(client.score(texts).tolist(), abs=1e-4)


def test_fields_are_kept(run: Run, server: TritonProcess, client: RewardClient, tmp_path: Path) -> None:
    rows = [{"id": index, "text": text, "meta": {"ünïcode": [None, 1.5, "é"]}} for index, text in enumerate(TEXTS)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(jsonl(rows), encoding="utf-8")
    outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    content = target.read_text(encoding="utf-8")
    scored = [json.loads(line) for line in content.split("\n") if line]
    np.testing.assert_allclose([row.pop("reward") for row in scored], client.score(TEXTS), atol=1e-6)
    assert scored == rows
    assert "Grüße, 世界 🎉" in content

    again = run("score", "--url", server.grpc_url, "--input", target)
    assert rewards_in(again.out) == pytest.approx(rewards_in(content), abs=1e-6)


def test_standard_input(run: Run, server: TritonProcess, client: RewardClient) -> None:
    lines = "\ufeff" + jsonl([{"text": TEXTS[1]}]) + "\n\r\n" + jsonl([{"text": TEXTS[0]}]).rstrip("\n")
    outcome = run("score", "--url", server.grpc_url, "--input", "-", stdin=lines.encode())
    assert rewards_in(outcome.out) == pytest.approx(client.score([TEXTS[1], TEXTS[0]]).tolist(), abs=1e-6)


def test_more_rows_than_one_call_takes(run: Run, server: TritonProcess, client: RewardClient) -> None:
    texts = [f"text number {index}" for index in range(300)]
    outcome = run(
        "score", "--url", server.grpc_url, "--input", "-", stdin=jsonl([{"text": text} for text in texts]).encode()
    )
    assert rewards_in(outcome.out) == pytest.approx(client.score(texts).tolist(), abs=1e-6)


def test_no_rows(run: Run, server: TritonProcess) -> None:
    outcome = run("score", "--url", server.grpc_url, "--input", "-")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{text: 1}", "not JSON"),
        (b'"a text"', "no object with a string `text`"),
        (b'{"prompt": "a"}', "no object with a string `text`"),
        (b'{"text": ["[a]"]}', "no object with a string `text`"),
        (b'{"text": "\xff"}', "not JSON in UTF-8"),
    ],
)
def test_bad_line_is_named(run: Run, server: TritonProcess, tmp_path: Path, line: bytes, problem: str) -> None:
    source = tmp_path / "[in].jsonl"
    source.write_bytes(b'{"text": "good"}\n\n' + line + b'\n{"text": "good"}\n')
    outcome = run("score", "--url", server.grpc_url, "--input", source)
    assert (outcome.code, len(rewards_in(outcome.out))) == (1, 1)
    assert outcome.err.startswith(f"error: RewardServeError: {source}, line 3: {problem}")
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(("text", "problem"), [("long " * 600, "has 3000 tokens"), ("", "is empty"), ("\ud800", "")])
def test_row_that_cannot_be_scored_is_named(run: Run, server: TritonProcess, text: str, problem: str) -> None:
    rows = json.dumps({"text": "good"}) + "\n" + json.dumps({"text": text}) + "\n"
    outcome = run("score", "--url", server.grpc_url, "--input", "-", stdin=rows.encode())
    assert (outcome.code, len(rewards_in(outcome.out))) == (1, 1)
    assert outcome.err.startswith(f"error: RewardServeError: standard input, line 2: {problem}")
    assert "item" not in outcome.err


def test_text_that_cannot_be_scored_is_named(run: Run, server: TritonProcess) -> None:
    outcome = run("score", "--url", server.grpc_url, "good", "long " * 600)
    assert outcome.code == 1
    assert outcome.err.startswith("error: RewardServeError: text 2: has ")


def test_truncation_is_said(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, ExportOptions(repository=tmp_path, max_length=16, truncation="right"))
    with TritonProcess(ServeOptions(repository=tmp_path, grpc_port=0, http_port=0, metrics_port=0)) as server:
        server.wait_until_ready()
        outcome = run("score", "--url", server.grpc_url, "good", "long " * 600)
    assert outcome.code == 0
    assert len(rewards_in(outcome.out)) == 2
    assert outcome.err.startswith("warning: 1 text was truncated")
    assert outcome.err.endswith("(counted from 0, the first row that this run scores)\n")


def test_no_server(run: Run) -> None:
    outcome = run("score", "--url", "127.0.0.1:1", "a text")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ServerUnavailableError: 127.0.0.1:1")
    assert len(outcome.err.splitlines()) == 1


def test_wrong_model(run: Run, server: TritonProcess) -> None:
    outcome = run("score", "--url", server.grpc_url, "--model", "[other]", "a text")
    assert outcome.code == 1
    assert "'[other]'" in outcome.err


def test_given_tokenizer(run: Run, server: TritonProcess, checkpoint: Path, tmp_path: Path) -> None:
    file = checkpoint / "tokenizer.json"
    assert run("score", "--url", server.grpc_url, "--tokenizer", file, "a text").code == 0
    other = tmp_path / "tokenizer.json"
    other.write_bytes(file.read_bytes() + b"\n")
    outcome = run("score", "--url", server.grpc_url, "--tokenizer", other, "a text")
    assert outcome.code == 1
    assert "TokenizerMismatchError" in outcome.err


def test_file_that_is_missing_or_cannot_be_written(run: Run, server: TritonProcess, tmp_path: Path) -> None:
    outcome = run("score", "--input", tmp_path / "missing.jsonl")
    assert outcome.code == 1
    assert "missing.jsonl can't be read" in outcome.err
    outcome = run("score", "--url", server.grpc_url, "a text", "--output", tmp_path)
    assert outcome.code == 1
    assert f"{tmp_path} can't be written" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["a text", "--input", "-"], ["a text", "--timeout", "0"], ["a text", "--timeout", "nan"], ["--timeout", "x"]],
)
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    outcome = run("score", *arguments)
    assert (outcome.code, outcome.out) == (2, "")


def test_input_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a"}\n')
    outcome = run("score", "--input", file, "--output", tmp_path / "." / "texts.jsonl")
    assert outcome.code == 2
    assert file.read_text() == '{"text": "a"}\n'
