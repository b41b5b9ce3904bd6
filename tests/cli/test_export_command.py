from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cells, Run


def test_two_versions(run: Run, cells: Cells, checkpoint: Path, tmp_path: Path) -> None:
    repository = tmp_path / "my repository"
    arguments = ["export", checkpoint, "--repository", repository, "--max-length", "256", "--truncation", "left"]
    first = run(*arguments)
    assert first.code == 0
    steps = first.err.splitlines()
    assert steps[0] == "reading the checkpoint"
    assert {"tracing the packed graph", "checking parity", "publishing"} <= set(steps)
    assert len(steps) == len(set(steps))

    rows = cells(first.out)
    assert rows["model"] == "LlamaModel, fp32, python backend, version 1"
    assert re.fullmatch(r"\d\.\de-\d\d from transformers over \d+ sequences; .* batch compositions", rows["parity"])
    assert rows["limits"].startswith("256 tokens a sequence, 1,024 a request, 1,024 a run")
    assert rows["longer texts"] == "cut off at the left"
    assert f"published {repository / 'reward' / '1'}" in first.out.splitlines()
    assert first.out.splitlines()[-1] == f"next: rewardserve serve --repository '{repository}'"

    second = run(*arguments)
    assert second.code == 0
    assert "version 2" in second.out
    assert (repository / "reward" / "1").is_dir()
    assert (repository / "reward" / "2").is_dir()


def test_untrained_head_is_refused(script: Path, untrained: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    command = [script, "export", untrained, "--repository", repository]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "error: UntrainedHeadError: " in ended.stderr
    assert "--allow-untrained-head" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (repository / "reward").exists()


def test_untrained_head_on_purpose_is_said(run: Run, untrained: Path, tmp_path: Path) -> None:
    outcome = run("export", untrained, "--repository", tmp_path / "repository", "--allow-untrained-head")
    assert outcome.code == 0
    assert "The value head is untrained: these rewards are random." in outcome.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-length", "4096"], "error: ExportError: max_length 4096 is more than the backbone's 1024 positions"),
        (["--max-length", "100", "--max-request-tokens", "50"], "a sequence must fit into a request"),
    ],
)
def test_limits_that_contradict(run: Run, checkpoint: Path, tmp_path: Path, options: list[str], message: str) -> None:
    outcome = run("export", checkpoint, "--repository", tmp_path, *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err


@pytest.mark.parametrize(
    "options", [["--max-length", "0"], ["--backend", "tensorrt"], ["--precision", "fp12"], ["--truncation", "middle"]]
)
def test_wrong_values_are_usage_errors(run: Run, checkpoint: Path, tmp_path: Path, options: list[str]) -> None:
    outcome = run("export", checkpoint, "--repository", tmp_path, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert options[0] in outcome.err


def test_repository_is_required(run: Run, checkpoint: Path) -> None:
    outcome = run("export", checkpoint)
    assert outcome.code == 2
    assert "--repository" in outcome.err
