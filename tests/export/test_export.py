"""Whole exports: the next version, and those that fail or are interrupted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rewardserve import ExportError, ParityError
from rewardserve._contract import RewardContract
from rewardserve_export import ExportOptions, ExportSummary, export
from rewardserve_export.parity import _check
from rewardserve_export.repository import contracts_in, read_config
from support.checkpoints import save_huggingface
from support.files import contents

# Says each step, so that the test knows when to interrupt, and waits for it at one that may be short.
EXPORT = """
import signal, sys, time
from pathlib import Path
from rewardserve_export import ExportOptions, export

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

def progress(step, done, steps):
    print(step, flush=True)
    if (step, done) == ("checking parity", 15):
        time.sleep(600)

export(sys.argv[1], ExportOptions(repository=Path(sys.argv[2])), progress)
"""


def test_next_version_with_another_tokenizer(exported: ExportSummary, repository: Path, tmp_path: Path) -> None:
    copied = tmp_path / "repository"
    shutil.copytree(repository, copied)
    before = contents(copied)
    checkpoint = save_huggingface(tmp_path / "checkpoint", bos=True)
    steps: list[tuple[str, int, int]] = []
    summary = export(
        checkpoint, ExportOptions(repository=copied, max_length=300), lambda *progress: steps.append(progress)
    )
    assert (summary.version, summary.path) == ("2", copied / "reward" / "2")
    assert summary.contract.tokenization.max_length == 300
    assert summary.contract.tokenization.tokenizer_sha256 != exported.contract.tokenization.tokenizer_sha256

    contracts = contracts_in(read_config(copied / "reward" / "config.pbtxt"))
    assert {version: RewardContract.from_json(text) for version, text in contracts.items()} == {
        "1": exported.contract,
        "2": summary.contract,
    }
    after = contents(copied)
    assert {name for name in before if before[name] != after[name]} == {"reward/config.pbtxt"}
    added = {name for name in after if name not in before}
    tokenizers = {name for name in added if not name.startswith(("reward/2", "reward_text/2"))}
    assert tokenizers == {f"reward_tokenizer/1/{summary.contract.tokenization.tokenizer_sha256}.json"}
    assert after[tokenizers.pop()] == (checkpoint / "tokenizer.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"repository", "checkpoint"}

    names = list(dict.fromkeys(step for step, _, _ in steps))
    assert names[0] == "reading the checkpoint"
    assert names[-1] == "publishing"
    counted = [(done, total) for step, done, total in steps if step == "checking parity"]
    assert counted[-1][0] == counted[-1][1] == len(counted)


def test_export_without_parity_is_not_published(
    exported: ExportSummary, repository: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No graph is so exact; and one in which nothing differs would pass."""
    assert exported.contract.parity.largest_difference > 0
    before = contents(repository.parent)
    monkeypatch.setattr(_check, "FP32_TOLERANCE", -1.0)
    with pytest.raises(ParityError, match="away from transformers"):
        export(checkpoint, ExportOptions(repository=repository))
    assert contents(repository.parent) == before


def test_place_that_cannot_be_written_is_found_before_tracing(checkpoint: Path) -> None:
    steps: list[str] = []
    options = ExportOptions(repository=Path("/proc/rewardserve/repository"))
    with pytest.raises(ExportError, match="can't write beside /proc/rewardserve/repository"):
        export(checkpoint, options, lambda step, *_: steps.append(step))
    assert "loading weights" in steps
    assert "tracing the packed graph" not in steps


@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "../x"}, "can't name a model"), ({"max_length": 1025}, "more than the backbone's 1024 positions")],
)
def test_options_are_checked_before_anything_is_written(
    options: dict[str, object], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export(checkpoint, ExportOptions(repository=tmp_path / "repository", **options))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def start_export(checkpoint: Path, repository: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", EXPORT, str(checkpoint), str(repository)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], step: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == step:
            return
    raise AssertionError(f"the export ended before {step!r}")


def test_interrupted_exports_publish_nothing(
    exported: ExportSummary, repository: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Ctrl-C and a kill, while tracing and later, into a new repository and one with a version."""
    plans = [
        (signal.SIGINT, "tracing the packed graph", False),
        (signal.SIGINT, "checking parity", True),
        (signal.SIGKILL, "checking parity", True),
    ]
    processes = []
    for index, (_, _, occupied) in enumerate(plans):
        place = tmp_path / str(index)
        place.mkdir()
        if occupied:
            shutil.copytree(repository, place / "repository")
        processes.append((start_export(checkpoint, place / "repository"), place, contents(place)))
    for (process, place, before), (sent, step, _) in zip(processes, plans, strict=True):
        with process:
            wait_for(process, step)
            assert any(path.name.startswith(".rewardserve-export-") for path in place.iterdir()), "it must be at work"
            process.send_signal(sent)
            process.communicate(timeout=120)
        assert process.returncode == -sent
        after = contents(place)
        if sent == signal.SIGKILL:  # nobody is left to clean up; the repository itself is untouched
            after = {name: content for name, content in after.items() if not name.startswith(".rewardserve-export-")}
        assert after == before
    assert exported.version == "1"
