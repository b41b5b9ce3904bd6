"""`memory`: what a server takes, against what `rewardserve plan` says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._models import Model, save_peers_llama
from benchmarks._processes import ProcessTree
from benchmarks._setup import KEPT, Setup, say

__all__ = ["memory"]

MAX_LENGTH = 2048
RUNS_OF = (2048, 4096, 8192)
"""Tokens of a run."""
_EVERY = 0.05
"""Seconds between two looks at the memory."""


def memory(setup: Setup) -> dict[str, Any]:
    """Memory of a server's processes, idle and while it computes its largest run."""
    tiny = save_peers_llama(
        KEPT / "tiny-llama", hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    models = [Model(name="tiny-llama", directory=tiny, word_tokens=True), setup.model, setup.checkpoint_model]
    return {
        "what": (
            "ONNX in float32 on the Python backend, on a CPU. A new server for each row, asked for one run of so many "
            f"tokens: a prompt of {MAX_LENGTH // 2} tokens and as many continuations of it. `measured`: pages of all "
            "of the server's processes, those of a file once (as a container's are counted, whatever else the machine "
            f"runs), largest of samples every {_EVERY} s; `estimated`: by `rewardserve plan`"
        ),
        "models": {model.name: _model(model) for model in models},
    }


def _model(model: Model) -> dict[str, Any]:
    from rewardserve_export import CPU_OVERHEAD, ExportOptions, ServingTarget, export, plan

    repository = model.beside("memory")
    options = ExportOptions(repository=repository, max_length=MAX_LENGTH, max_batch_tokens=RUNS_OF[-1])
    if not repository.is_dir():
        say(f"memory: exporting {model.name}")
        export(model.directory, options)
    planned = plan(model.directory, options, ServingTarget())
    rows = []
    for tokens in RUNS_OF:
        say(f"memory: {model.name}, a run of {tokens} tokens")
        estimated = CPU_OVERHEAD + planned.memory.of_run(tokens)
        idle, peak = _measured(repository, tokens)
        rows.append(
            {"tokens": tokens, "estimated": estimated, "measured": peak, "idle": idle, "ratio": estimated / peak}
        )
    return {
        "parameters": planned.parameters,
        "weights": planned.memory.weights,
        "per_token": planned.memory.per_token,
        "attention": planned.memory.attention,
        "runs": rows,
    }


def _measured(repository: Path, tokens: int) -> tuple[int, int]:
    """Bytes of an idle server, and of one that computes a run."""
    from rewardserve_server import ServeOptions, TritonProcess

    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        tree = ProcessTree(server.pid)
        idle = _resident(tree)
        with _peak(tree) as peak:
            _score_one_run(server.grpc_url, tokens)
    return idle, max(peak)


def _resident(tree: ProcessTree) -> int:
    """Bytes of anonymous pages, and of each file's pages once. PSS would also divide by other servers' processes."""
    anonymous, files = 0, dict[tuple[str, str], int]()
    for pid in tree.pids():
        mapping, resident = ("", ""), 0
        try:
            lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        except OSError:  # ended meanwhile
            continue
        for line in lines:
            name, *values = line.split(maxsplit=5)
            if not name.endswith(":"):  # the head of a mapping: addresses, rights, offset, device, inode, path
                mapping = (values[-1], values[1])
            elif name == "Rss:":
                resident = 1024 * int(values[0])
            elif name == "Anonymous:":
                private = 1024 * int(values[0])
                anonymous += private
                files[mapping] = max(files.get(mapping, 0), resident - private)
    return anonymous + sum(files.values())


@contextmanager
def _peak(tree: ProcessTree) -> Iterator[list[int]]:
    """Bytes, sampled while the block runs."""
    samples, done = [_resident(tree)], threading.Event()

    def sample() -> None:
        while not done.wait(_EVERY):
            samples.append(_resident(tree))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _score_one_run(url: str, tokens: int) -> None:
    """Sends a prompt and its continuations: the server can't cut them into smaller runs."""
    import numpy as np
    import tritonclient.grpc as triton
    from rewardserve import _wire

    prompt = MAX_LENGTH // 2
    continuations = tokens // prompt - 1
    segments = np.array([[prompt, 0], *([prompt, index + 1] for index in range(continuations))], np.int32)
    input_ids = np.random.default_rng(0).integers(3, 400, tokens, np.int32)
    inputs = []
    for name, array in ((_wire.INPUT_IDS, input_ids), (_wire.SEGMENTS, segments)):
        tensor = triton.InferInput(name, [1, *array.shape], "INT32")
        tensor.set_data_from_numpy(array[None])
        inputs.append(tensor)
    with triton.InferenceServerClient(url) as client:
        rewards = client.infer("reward", inputs, client_timeout=900).as_numpy(_wire.REWARDS)
    if not np.isfinite(rewards).all():
        raise ValueError(f"a reward of a run of {tokens} tokens isn't finite")
