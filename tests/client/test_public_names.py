"""What `import rewardserve` brings, and what it doesn't."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
import rewardserve

MODULES = [module.name for module in pkgutil.iter_modules(rewardserve.__path__) if module.name.startswith("_")]

IMPORT = """
import logging, sys, threading

def forbid(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(event)

handlers, level, threads = list(logging.root.handlers), logging.root.level, threading.active_count()
sys.addaudithook(forbid)
import rewardserve
assert (list(logging.root.handlers), logging.root.level, threading.active_count()) == (handlers, level, threads)
assert not [name for name in logging.root.manager.loggerDict if name.startswith("rewardserve")]
print("\\n".join(sys.modules))
"""


def test_importing_is_cheap_and_does_nothing() -> None:
    ended = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "rewardserve" in loaded
    heavy = {
        "torch",
        "transformers",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "grpc",
        "tritonclient",
        "tokenizers",
        "jinja2",
        "typer",
    }
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith("rewardserve_")}


def test_the_modules_are_found() -> None:
    assert {"_client", "_contract", "_errors", "_wire"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_lists_its_names(name: str) -> None:
    module = importlib.import_module(f"rewardserve.{name}")
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public)


def test_the_package_reexports_exactly_the_public_modules() -> None:
    modules = ("_async_client", "_client", "_contract", "_errors", "_tls")
    public = [importlib.import_module(f"rewardserve.{name}") for name in modules]
    names = {name for module in public for name in module.__all__}
    assert set(rewardserve.__all__) == names
    assert len(rewardserve.__all__) == len(names)
    for module in public:
        for name in module.__all__:
            assert getattr(rewardserve, name) is getattr(module, name)
