"""`export-memory`: what exporting a large checkpoint takes, against copying it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._random_checkpoint import save_random_llama
from benchmarks._setup import Setup, say
from benchmarks._summary import summary

__all__ = ["export_memory"]

RUNS = 3
SAMPLE_EVERY = 0.02
"""Seconds."""

EXPORT = """
import json, sys, time
from pathlib import Path
from rewardserve_export import ExportOptions, export

def progress(step, *_):
    print(json.dumps([step, time.monotonic(), time.process_time()]), flush=True)

summary = export(sys.argv[1], ExportOptions(repository=Path(sys.argv[2]), max_length=2048), progress)
progress("end")
print(json.dumps({"difference": summary.contract.parity.largest_difference, "bytes": summary.bytes}))
"""


def export_memory(setup: Setup) -> dict[str, Any]:
    """Exports of a random bfloat16 Llama of 1.5B parameters, in turn with plain copies."""
    with tempfile.TemporaryDirectory(prefix="rewardserve-export-memory-") as scratch:
        source = Path(scratch, "checkpoint")
        say("export-memory: making a checkpoint of 1.5B parameters")
        parameters = save_random_llama(source)
        exports, copies = [], []
        for run in range(RUNS):
            say(f"export-memory: run {run + 1} of {RUNS}")
            shutil.rmtree(Path(scratch, "repository"), ignore_errors=True)
            _drop_cache(source)
            exports.append(_export(source, Path(scratch, "repository")))
            graph = next(Path(scratch, "repository").glob("reward/*/model.onnx.data"))
            copies.append([_copy(file, Path(scratch, "copy")) for file in (source, graph)])
        sizes = {"checkpoint": _size(source), "graph": graph.stat().st_size}
    steps = [run["wall"] for run in exports]
    return {
        "what": (
            f"a random bfloat16 Llama of {parameters / 1e9:.2f}B parameters to ONNX in float32, in a process of its "
            f"own, parity included; against cp and fsync; {RUNS} runs in turn, source files dropped from the page "
            "cache before each. Memory of the process tree, sampled: anonymous pages, and all resident ones (RSS), "
            "mapped pages of files included"
        ),
        "bytes": sizes,
        "peak_anonymous_bytes": summary([run["anonymous"] for run in exports]),
        "peak_resident_bytes": summary([run["resident"] for run in exports]),
        "seconds": summary([sum(run.values()) for run in steps]),
        "seconds_of_steps": {step: summary([run[step] for run in steps]) for step in steps[0]},
        "cpu_seconds_of_steps": {step: summary([run["cpu"][step] for run in exports]) for step in steps[0]},
        "copy_checkpoint_seconds": summary([checkpoint for checkpoint, _ in copies]),
        "copy_graph_seconds": summary([graph for _, graph in copies]),
        "write_against_copying_the_graph": statistics.median(
            run["writing model.onnx"] / copy for run, (_, copy) in zip(steps, copies, strict=True)
        ),
        "largest_difference": max(run["difference"] for run in exports),
    }


def _export(source: Path, repository: Path) -> dict[str, Any]:
    """Seconds of each step, and the peaks of memory."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-c", EXPORT, source, repository], stdout=output, text=True)
        anonymous = resident = 0
        while process.poll() is None:
            used = [_memory(pid) for pid in _tree(process.pid)]
            anonymous = max(anonymous, sum(own for own, _ in used))
            resident = max(resident, sum(every for _, every in used))
            time.sleep(SAMPLE_EVERY)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "export")
        output.seek(0)
        *steps, result = map(json.loads, output)
    clocks = {"wall": _seconds(steps, 1), "cpu": _seconds(steps, 2)}
    return {**clocks, "anonymous": anonymous, "resident": resident, **result}


def _seconds(steps: Sequence[Sequence[Any]], clock: int) -> dict[str, float]:
    """Of each step: several reports of one add up."""
    seconds: dict[str, float] = {}
    for start, end in itertools.pairwise(steps):
        seconds[start[0]] = seconds.get(start[0], 0.0) + end[clock] - start[clock]
    return seconds


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in children:
            yield from _tree(int(child))


def _memory(pid: int) -> tuple[int, int]:
    """(anonymous, resident) bytes; pages that processes of the tree share count for each."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # ended meanwhile
        return 0, 0
    fields = {line.split()[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "RssAnon:"))}
    return fields.get("RssAnon:", 0), fields.get("VmRSS:", 0)


def _copy(source: Path, target: Path) -> float:
    _drop_cache(source)
    started = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    for file in _files(target):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    seconds = time.monotonic() - started
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    return seconds


def _drop_cache(path: Path) -> None:
    for file in _files(path):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))
