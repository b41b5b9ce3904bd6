"""The files of one version of a model, and of its companions: one hands out its tokenizer, one scores texts."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

from rewardserve import _wire
from rewardserve._contract import RewardContract, text_model, tokenizer_model

from rewardserve_export import runtime
from rewardserve_export.repository._config import Backend, text_config, tokenizer_config, write_config

__all__ = ["stage_companions", "stage_version"]

_HERE = Path(__file__).parent
_RUNTIME = Path(runtime.__file__).parent
_CLIENT = Path(_wire.__file__).parent
_CLIENT_CORE = (
    "_answers.py",
    "_balance.py",
    "_contract.py",
    "_core.py",
    "_errors.py",
    "_identity.py",
    "_packing.py",
    "_prefixes.py",
    "_tokenizer.py",
    "_wire.py",
)
"""The client's modules without I/O: what turns texts into requests and answers into rewards."""
_ENGINES = {
    "model.onnx": ("onnx_engine.py",),
    "model.pt": ("torch_engine.py", "torch_operators.py", "torch_kernels.py", "kernels.cpp"),
}


def stage_version(
    directory: Path, backend: Backend, contract: RewardContract, tokenizer: bytes, *, reference: str | None = None
) -> None:
    """Writes what lies beside the graph in a version's directory; the graph is there already.

    Args:
        directory: Of the version.
        backend: `python`, or a stock one.
        contract: Of the version.
        tokenizer: Its `tokenizer.json`.
        reference: What the Python backend's metrics compare rewards with, as JSON.
    """
    (directory / "contract.json").write_text(contract.to_json())
    (directory / "tokenizer.json").write_bytes(tokenizer)
    if backend == "python":
        for name in ("model.py", "metrics.py", "runs.py", "totals.py"):
            shutil.copyfile(_HERE / "python_backend" / name, directory / name)
        (directory / "wire.py").write_text(inspect.getsource(_wire))
        if reference is not None:
            (directory / "reference.json").write_text(reference)
        for graph, files in _ENGINES.items():
            if (directory / graph).exists():
                for name in files:
                    shutil.copyfile(_RUNTIME / name, directory / name)


def stage_companions(staged: Path, name: str, version: str, contract: RewardContract, tokenizer: bytes) -> None:
    """Writes the models that hand out tokenizers and score texts.

    Args:
        staged: Where to.
        name: Of the reward model.
        version: Of the reward model, and of the one that scores texts with it.
        contract: Of that version.
        tokenizer: Its `tokenizer.json`.
    """
    companion = staged / tokenizer_model(name)
    (companion / "1").mkdir(parents=True)
    write_config(tokenizer_config(companion.name), companion / "config.pbtxt")
    shutil.copyfile(_HERE / "tokenizer_backend" / "model.py", companion / "1" / "model.py")
    (companion / "1" / f"{contract.tokenization.tokenizer_sha256}.json").write_bytes(tokenizer)

    text = staged / text_model(name)
    directory = text / version
    (directory / "rewardserve").mkdir(parents=True)
    write_config(text_config(text.name, name, contract), text / "config.pbtxt")
    (directory / "contract.json").write_text(contract.to_json())
    (directory / "tokenizer.json").write_bytes(tokenizer)
    for file in ("model.py", "scorer.py"):
        shutil.copyfile(_HERE / "text_backend" / file, directory / file)
    (directory / "rewardserve" / "__init__.py").write_text('"""The part of rewardserve that this model needs."""\n')
    for file in _CLIENT_CORE:
        shutil.copyfile(_CLIENT / file, directory / "rewardserve" / file)
