"""How each peer is started and asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._models import Model
from benchmarks._processes import Cores
from benchmarks._servers import ONE_THREAD, HttpServer, Server, ServerProcess, free_port
from benchmarks._setup import BenchmarkError, say

__all__ = ["MODULES", "environment", "onnxruntime", "openrlhf", "openvino", "vllm"]

PROJECT = Path(__file__).parent.parent.parent
MAX_LENGTH = 2048
MODULES = {"PYTHONPATH": str(PROJECT)}
"""Environment variables with which a peer's interpreter finds `benchmarks.peers.apps`."""


def environment(name: str) -> Path:
    """The `bin` directory of a peer's environment.

    Raises:
        BenchmarkError: It isn't installed.
    """
    directory = PROJECT / ".peers" / name
    if not (directory / ".installed").is_file():
        raise BenchmarkError(f"{name} isn't installed. Remedy: benchmarks/peers/install.sh {name}")
    return directory / "bin"


def vllm(model: Model, precision: str, cores: Cores, log: Path) -> Server:
    """The CPU build of vLLM: packs, and caches prefixes."""
    port = free_port()
    dtype = {"bf16": "bfloat16", "fp32": "float32"}[precision]
    command = [str(environment("vllm") / "vllm"), "serve", str(model.directory), "--runner", "pooling"]
    command += ["--dtype", dtype, "--max-model-len", str(MAX_LENGTH), "--host", "127.0.0.1", "--port", str(port)]
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB: all sequences of any workload at once
        "VLLM_CPU_OMP_THREADS_BIND": str(cores.server),
        "VLLM_NO_USAGE_STATS": "1",
    }

    def body(sequences: Sequence[list[int]]) -> dict[str, Any]:
        return {"model": str(model.directory), "input": sequences, "use_activation": False}

    def rewards(answer: Any) -> list[float]:
        return [row["probs"][0] for row in sorted(answer["data"], key=lambda row: row["index"])]

    return HttpServer(ServerProcess(command, settings, cores, log), port, "/health", "/classify", body, rewards)


def openvino(model: Model, precision: str, cores: Cores, log: Path) -> Server:
    """OpenVINO, by optimum-intel's export, padded, behind FastAPI."""
    bin_directory = environment("openvino")

    def convert(target: Path) -> list[str]:
        task = ["--task", "text-classification", "--weight-format", "fp32"]
        return [
            str(bin_directory / "optimum-cli"),
            "export",
            "openvino",
            "-m",
            str(model.directory),
            *task,
            str(target),
        ]

    directory = _converted(model, "openvino", convert)
    return _padded_app(
        bin_directory, "openvino_app", [str(directory), precision], str(model.config["pad_token_id"]), cores, log
    )


def onnxruntime(model: Model, _: str, cores: Cores, log: Path) -> Server:
    """ONNX Runtime, padded, behind FastAPI."""
    bin_directory = environment("onnxruntime")

    def convert(target: Path) -> list[str]:
        target.mkdir()
        python = str(bin_directory / "python")
        module = "benchmarks.peers.apps.onnx_export"
        return [python, "-m", module, str(model.directory), str(target / "model.onnx")]

    path = _converted(model, "padded-onnx", convert) / "model.onnx"
    return _padded_app(bin_directory, "onnxruntime_app", [str(path)], str(model.config["pad_token_id"]), cores, log)


def openrlhf(model: Model, _: str, cores: Cores, log: Path) -> Server:
    """OpenRLHF's own server: transformers in bfloat16, padded; it takes texts.

    Raises:
        BenchmarkError: The model's tokenizer doesn't turn the texts of random ids back into them.
    """
    if not model.word_tokens:
        raise BenchmarkError("takes texts, and random ids of this model's tokenizer don't survive being text")
    port = free_port()
    command = [str(environment("openrlhf") / "python"), "-m", "openrlhf.cli.serve_rm", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--reward.model_name_or_path", str(model.directory)]
    command += ["--ds.attn_implementation", "sdpa", "--data.max_len", str(MAX_LENGTH)]

    def body(sequences: Sequence[list[int]]) -> dict[str, Any]:
        return {"query": [" ".join(f"w{token}" for token in sequence) for sequence in sequences]}

    def rewards(answer: Any) -> list[float]:
        return list(answer["rewards"])

    return HttpServer(ServerProcess(command, {}, cores, log), port, "/openapi.json", "/get_reward", body, rewards)


def _padded_app(
    bin_directory: Path, module: str, arguments: list[str], padding: str, cores: Cores, log: Path
) -> Server:
    port = free_port()
    command = [str(bin_directory / "python"), "-m", f"benchmarks.peers.apps.{module}", *arguments, str(port), padding]

    def body(sequences: Sequence[list[int]]) -> dict[str, Any]:
        return {"sequences": sequences}

    def rewards(answer: Any) -> list[float]:
        return list(answer["rewards"])

    return HttpServer(ServerProcess(command, MODULES, cores, log), port, "/health", "/score", body, rewards)


def _converted(model: Model, name: str, command: Callable[[Path], list[str]]) -> Path:
    """The model in a peer's own format, made once and kept beside it.

    Raises:
        BenchmarkError: That failed.
    """
    target = model.beside(name)
    if target.is_dir():
        return target
    unfinished, log = model.beside(f"{name}-unfinished"), model.beside("logs") / f"{name}.log"
    say(f"converting {model.name}: {name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        environment_variables = {**os.environ, **ONE_THREAD, **MODULES}
        done = subprocess.run(
            command(unfinished), check=False, stdout=output, stderr=subprocess.STDOUT, env=environment_variables
        )
    if done.returncode:
        raise BenchmarkError(f"the model can't be converted; see {log}")
    return unfinished.rename(target)
