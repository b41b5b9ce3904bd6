"""The files of one version of a model, and of the companion that hands out its tokenizer."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

from rewardserve import _wire
from rewardserve._contract import RewardContract, tokenizer_model

from rewardserve_export import runtime
from rewardserve_export.repository._config import Backend, tokenizer_config, write_config

__all__ = ["stage_companion", "stage_version"]

_HERE = Path(__file__).parent
_RUNTIME = Path(runtime.__file__).parent
_ENGINES = {
    "model.onnx": ("onnx_engine.py",),
    "model.pt": ("torch_engine.py", "torch_operators.py", "torch_kernels.py", "kernels.cpp"),
}


def stage_version(directory: Path, backend: Backend, contract: RewardContract, tokenizer: bytes) -> None:
    """Writes what lies beside the graph in a version's directory; the graph is there already."""
    (directory / "contract.json").write_text(contract.to_json())
    (directory / "tokenizer.json").write_bytes(tokenizer)
    if backend == "python":
        for name in ("model.py", "runs.py"):
            shutil.copyfile(_HERE / "python_backend" / name, directory / name)
        (directory / "wire.py").write_text(inspect.getsource(_wire))
        for graph, files in _ENGINES.items():
            if (directory / graph).exists():
                for name in files:
                    shutil.copyfile(_RUNTIME / name, directory / name)


def stage_companion(staged: Path, name: str, tokenizer: bytes, sha256: str) -> None:
    """Writes the model that hands out tokenizers."""
    companion = staged / tokenizer_model(name)
    (companion / "1").mkdir(parents=True)
    write_config(tokenizer_config(companion.name), companion / "config.pbtxt")
    shutil.copyfile(_HERE / "tokenizer_backend" / "model.py", companion / "1" / "model.py")
    (companion / "1" / f"{sha256}.json").write_bytes(tokenizer)
