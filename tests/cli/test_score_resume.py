"""`rewardserve score` ends in any way, and goes on: the file is the one of a run that was never interrupted."""

from __future__ import annotations

import fcntl
import json
import random
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.checkpoints import save_openrlhf

if TYPE_CHECKING:
    from conftest import Run

ROWS = [{"id": index, "text": f"Ünit {index}: " + "good " * (index % 7), "nan": float("nan")} for index in range(40)]


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def assert_scored(path: Path, rows: Sequence[dict[str, Any]], client: RewardClient) -> None:
    scored = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    rewards = [row.pop("reward") for row in scored]
    assert json.dumps(scored) == json.dumps(rows)
    np.testing.assert_allclose(rewards, client.score([row["text"] for row in rows]), atol=1e-6)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", ROWS)


@pytest.fixture
def target(run: Run, server: TritonProcess, source: Path, tmp_path: Path) -> Path:
    """A finished output of `source`."""
    target = tmp_path / "out.jsonl"
    assert run("score", "--url", server.grpc_url, "--input", source, "--output", target).code == 0
    return target


def test_killed_at_any_moment(script: Path, server: TritonProcess, client: RewardClient, tmp_path: Path) -> None:
    rows = [{"id": index, "text": f"row {index} " + "word " * (index % 50)} for index in range(6000)]
    source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = [script, "score", "--url", server.grpc_url, "--input", source, "--output", target]
    moments = random.Random(7)
    size = 0
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        goal = size + moments.randrange(1, 60_000)
        while process.poll() is None and (not target.exists() or target.stat().st_size < goal):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.communicate(timeout=30) is not None
        assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
        size = target.stat().st_size
        whole = target.read_bytes().rpartition(b"\n")[0].splitlines()
        assert [json.loads(line)["id"] for line in whole] == list(range(len(whole)))
        assert len(whole) < len(rows)
    subprocess.run(command, check=True, capture_output=True)
    assert_scored(target, rows, client)


@pytest.mark.parametrize("missing", [1, 2, 20, 400])
def test_unfinished_line_is_cut_off(
    run: Run, server: TritonProcess, client: RewardClient, source: Path, target: Path, missing: int
) -> None:
    finished = target.read_bytes()
    target.write_bytes(finished[:-missing])
    done = finished[:-missing].count(b"\n")
    outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"{target}: {done} rows are done already\n")
    assert_scored(target, ROWS, client)


def test_finished_file_is_left_alone(run: Run, server: TritonProcess, source: Path, target: Path) -> None:
    before, written = target.read_bytes(), target.stat().st_mtime_ns
    outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target)
    assert (outcome.code, outcome.err) == (0, f"{target}: 40 rows are done already\nnothing is left to score\n")
    assert (target.read_bytes(), target.stat().st_mtime_ns) == (before, written)


def test_rows_added_to_the_input_are_scored(
    run: Run, server: TritonProcess, client: RewardClient, source: Path, target: Path
) -> None:
    more = [*ROWS, {"text": "one more"}]
    write_rows(source, more)
    assert run("score", "--url", server.grpc_url, "--input", source, "--output", target).code == 0
    assert_scored(target, more, client)


def test_standard_input_given_again(
    run: Run, server: TritonProcess, client: RewardClient, source: Path, target: Path
) -> None:
    target.write_bytes(target.read_bytes()[:-100])
    arguments = ("score", "--url", server.grpc_url, "--input", "-", "--output", target)
    assert run(*arguments, stdin=source.read_bytes()).code == 0
    assert_scored(target, ROWS, client)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([*ROWS[:7], {**ROWS[7], "id": 70}, *ROWS[8:]], "line 8 isn't {source}, line 8, with a reward"),
        ([*ROWS[:7], {"text": "new"}, *ROWS[7:]], "line 8 isn't {source}, line 8, with a reward"),
        (ROWS[:30], "line 31 isn't of the input, which has 30 rows"),
    ],
)
def test_another_input_is_refused(
    run: Run, server: TritonProcess, source: Path, target: Path, rows: list[dict[str, Any]], line: str
) -> None:
    write_rows(source, rows)
    before = target.read_bytes()
    outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target)
    assert outcome.code == 1
    assert f"{target}, {line.format(source=source)}. Remedy: give another --output" in outcome.err
    assert target.read_bytes() == before


def test_file_of_something_else_is_refused(run: Run, server: TritonProcess, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("precious")
    outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target)
    assert outcome.code == 1
    assert "there is no notes.txt.contract.json beside it" in outcome.err
    assert target.read_text() == "precious"


def test_another_model_is_refused_unless_overwritten(run: Run, source: Path, target: Path, tmp_path: Path) -> None:
    before = target.read_bytes()
    checkpoint = save_openrlhf(tmp_path / "other")
    export(checkpoint, ExportOptions(repository=tmp_path / "repository"))
    options = ServeOptions(repository=tmp_path / "repository", grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as other:
        other.wait_until_ready()
        arguments = ("score", "--url", other.grpc_url, "--input", source, "--output", target)
        outcome = run(*arguments)
        assert outcome.code == 1
        assert "another model scored it (identity " in outcome.err
        assert target.read_bytes() == before

        assert run(*arguments, "--overwrite").code == 0
        with RewardClient(other.grpc_url) as client:
            assert_scored(target, ROWS, client)
        assert "are done already" in run(*arguments).err


@pytest.mark.parametrize("bad", ['{"text": "cut', '{"text": ""}'])
def test_bad_row_is_mended(
    run: Run, server: TritonProcess, client: RewardClient, source: Path, tmp_path: Path, bad: str
) -> None:
    good = source.read_text(encoding="utf-8")
    lines = good.splitlines(keepends=True)
    source.write_text("".join([*lines[:25], bad + "\n", *lines[26:]]), encoding="utf-8")
    target = tmp_path / "out.jsonl"
    arguments = ("score", "--url", server.grpc_url, "--input", source, "--output", target)
    outcome = run(*arguments)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: RewardServeError: {source}, line 26: ")
    assert_scored(target, ROWS[:25], client)

    source.write_text(good, encoding="utf-8")
    assert run(*arguments).err == f"{target}: 25 rows are done already\n"
    assert_scored(target, ROWS, client)


def test_full_disk_leaves_whole_lines(
    script: Path, server: TritonProcess, client: RewardClient, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    command = [script, "score", "--url", server.grpc_url, "--input", source, "--output", target]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2500, 2500))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{target} can't be written any further" in err
    content = target.read_bytes()
    assert content.endswith(b"}\n")
    assert 2400 < len(content) <= 2500
    subprocess.run(command, check=True, capture_output=True)
    assert_scored(target, ROWS, client)


def test_one_run_at_a_time(run: Run, server: TritonProcess, source: Path, target: Path) -> None:
    with target.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        outcome = run("score", "--url", server.grpc_url, "--input", source, "--output", target, "--overwrite")
    assert outcome.code == 1
    assert f"another process is writing {target}" in outcome.err
    assert len(target.read_bytes().splitlines()) == len(ROWS)
