"""Compiling `kernels.cpp` for this machine's processor, once, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch

__all__ = ["load_kernels"]

_SOURCE = Path(__file__).with_name("kernels.cpp")
# No -ffast-math: NaN must stay NaN. These allow sums in another order, which is what vectorises them.
_FLAGS = ("-O3", "-march=native", "-std=c++20", "-shared", "-fPIC", "-fopenmp", "-fno-math-errno")
_REORDER = ("-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math")
_TIMEOUT = 300.0
"""Seconds; a compiler takes about ten."""


@cache
def load_kernels() -> bool:
    """Loads the kernels, compiled if this machine hasn't done so; False where that fails, with a RuntimeWarning.

    Needs a C++ compiler (`$CXX`, or `c++`). Without one the graph still runs, slower, on PyTorch's own operators.
    """
    library = _cache_directory() / f"rewardserve-kernels-{_fingerprint()}.so"
    try:
        if not library.exists():
            _compile(library)
        torch.ops.load_library(str(library))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        detail = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        lines = [line for line in detail.splitlines() if "error" in line] or detail.splitlines() or [""]
        warnings.warn(
            f"rewardserve's CPU kernels can't be compiled ({lines[0]}): this model runs without them, slower. "
            "Remedy: install a C++20 compiler (g++ 11 or later), or point CXX at one",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _compile(library: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise OSError("there is no C++ compiler")
    root = Path(torch.__file__).parent
    include = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    link = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        built = Path(scratch) / library.name
        command = [compiler, *_FLAGS, *_REORDER, abi, str(_SOURCE), "-o", str(built), *include, *link]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
        built.replace(library)  # two servers may do this at once


def _fingerprint() -> str:
    """Of everything that the compiled library depends on."""
    parts = [_SOURCE.read_bytes(), torch.__version__.encode(), platform.machine().encode(), " ".join(_FLAGS).encode()]
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        lines = processor.read_text().splitlines()
        parts.extend(line.encode() for line in lines[:64] if line.startswith(("flags", "Features", "model name")))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rewardserve"
