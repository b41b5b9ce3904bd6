"""Checkpoints that a stranger made to hurt, each from a good one: what is done to it, and what it gets."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from support.checkpoints import edit_config, edit_tokenizer_config

__all__ = ["CASES", "Case", "Command", "save_adapter"]

Command = Literal["inspect", "plan", "load", "tokenize"]

WEIGHTS, BIN, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"
GIB = 1 << 30


@dataclass(frozen=True)
class Case:
    """A hostile checkpoint.

    Attributes:
        spoil: Changes a good checkpoint.
        gets: The error's class.
        message: A part of the error's message.
        command: What the user does with it: `load` is what export, train and evaluate begin with.
    """

    spoil: Callable[[Path], object]
    gets: str
    message: str
    command: Command = "inspect"


def _raw(header: bytes, length: int | None = None, data: bytes = b"") -> Callable[[Path], object]:
    """A safetensors file of this header, that announces another length, and data."""
    content = struct.pack("<Q", len(header) if length is None else length) + header + data
    return lambda path: (path / WEIGHTS).write_bytes(content)


def _tensor(data: bytes = bytes(128), **fields: Any) -> Callable[[Path], object]:
    """A safetensors file of a head of 32 numbers, some of whose header's fields lie."""
    entry = {"dtype": "F32", "shape": [1, 32], "data_offsets": [0, 128], **fields}
    return _raw(json.dumps({"score.weight": entry}).encode(), data=data)


def _overlap(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1, 32], "data_offsets": [0, 128]}
    _raw(json.dumps({"score.weight": entry, "model.norm.weight": entry}).encode(), data=bytes(128))(path)


def _many_tensors(path: Path) -> None:
    empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    _raw(("{" + ",".join(f'"t{number}":{empty}' for number in range(300_000)) + "}").encode())(path)


def _grow(name: str, size: int) -> Callable[[Path], object]:
    """A sparse file: it takes no space until it is read."""

    def spoil(path: Path) -> None:
        (path / name).touch()
        os.truncate(path / name, size)

    return spoil


def _text(name: str, content: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(content)


def _nested(name: str) -> Callable[[Path], object]:
    return _text(name, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}")


def _fifo(name: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)

    return spoil


def _link(name: str, target: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(target)

    return spoil


def _index(content: object) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        (path / WEIGHTS).rename(path / "a.safetensors")
        (path / INDEX).write_text(json.dumps({"weight_map": content}))

    return spoil


def _shard(make: Callable[[str], Callable[[Path], object]]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        _index({"score.weight": "b.safetensors"})(path)
        make("b.safetensors")(path)

    return spoil


def _bin(change: Callable[[dict[str, Any]], object], **options: Any) -> Callable[[Path], object]:
    """The same weights as a `.bin` file, changed."""

    def spoil(path: Path) -> None:
        tensors = load_file(path / WEIGHTS)
        (path / WEIGHTS).unlink()
        change(tensors)
        torch.save(tensors, path / BIN, **options)

    return spoil


class _Call:
    """What is called when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called


def _code(path: Path) -> None:
    _bin(lambda tensors: tensors.update(extra=_Call(os.mkdir, str(path / "it ran"))))(path)


def _old_code(path: Path) -> None:
    change = _bin(lambda tensors: tensors.update(extra=_Call(os.mkdir, str(path / "it ran"))), **_OLD)
    change(path)


_OLD = {"_use_new_zipfile_serialization": False}


def _compressed(path: Path, bomb: int = 0) -> None:
    """As any zip tool would write it; with a pickle of so many bytes."""
    _bin(lambda _: None)(path)
    content = io.BytesIO()
    with (
        zipfile.ZipFile(path / BIN) as source,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for entry in source.infolist():
            with target.open(entry.filename, "w", force_zip64=True) as stream:
                stream.write(source.read(entry))
                if entry.filename.endswith("data.pkl"):
                    for _ in range(bomb >> 24):
                        stream.write(bytes(1 << 24))
    (path / BIN).write_bytes(content.getvalue())


def _lying_entry(path: Path) -> None:
    """The directory of the zip file says that the pickle is 2 GiB."""
    _bin(lambda _: None)(path)
    content = bytearray((path / BIN).read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 20 : directory + 28] = struct.pack("<II", 2 * GIB - 1, 2 * GIB - 1)
    (path / BIN).write_bytes(content)


def _lying_storage(path: Path) -> None:
    """In torch's old format the pickle says how many numbers follow."""
    _bin(lambda tensors: [tensors.pop(key) for key in [*tensors] if key != "score.weight"], **_OLD)(path)
    content = (path / BIN).read_bytes()
    (path / BIN).write_bytes(content.replace(b"K\x20", b"\x8a\x06" + (10**13).to_bytes(6, "little")))


def _expand(tensors: dict[str, Any]) -> None:
    tensors["score.weight"] = torch.zeros(1).expand(10**12, 32)


def _sparse(tensors: dict[str, Any]) -> None:
    tensors["score.weight"] = torch.sparse_coo_tensor(
        torch.zeros(2, 0), torch.zeros(0), (10**9, 10**9), check_invariants=True
    )


def _no_data(tensors: dict[str, Any]) -> None:
    tensors["score.weight"] = torch.empty(10**9, 10**9, device="meta")


def _config(**changes: Any) -> Callable[[Path], object]:
    return lambda path: edit_config(path, **changes)


def _own_code(path: Path) -> None:
    """Code beside the weights that config.json and tokenizer_config.json ask for."""
    (path / "own.py").write_text(f"import os; os.mkdir({str(path / 'it ran')!r})\nclass Own: pass\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    edit_config(path, model_type="own", auto_map=dict.fromkeys(names, "own.Own"))


def _own_tokenizer(path: Path) -> None:
    (path / "own.py").write_text(f"import os; os.mkdir({str(path / 'it ran')!r})\nclass Own: pass\n")
    edit_tokenizer_config(path, tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})


def _tokenizer(**changes: Any) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        file = path / "tokenizer.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return spoil


def _replace(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


def _template(single: list[Any], **special: list[int]) -> dict[str, Any]:
    tokens = {name: {"id": name, "ids": ids, "tokens": ["x"] * len(ids)} for name, ids in special.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens}


_SEQUENCE = {"Sequence": {"id": "A", "type_id": 0}}
_SPECIAL = {"SpecialToken": {"id": "x", "type_id": 0}}
_CATASTROPHIC = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}


def save_adapter(path: Path, **changes: Any) -> None:
    """Makes an adapter of a checkpoint, beside it as its base."""
    base = path.parent / "base"
    path.rename(base)
    path.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).write_bytes((base / name).read_bytes())
    query = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{query}.lora_A.weight": torch.zeros(2, 32), f"{query}.lora_B.weight": torch.zeros(32, 2)}
    save_file({"base_model.model.score.weight": torch.zeros(1, 32), **tensors}, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    config |= {"target_modules": ["q_proj"], "layers_to_transform": [0], "base_model_name_or_path": str(base)}
    (path / "adapter_config.json").write_text(json.dumps({**config, **changes}))


def _adapter(**changes: Any) -> Callable[[Path], object]:
    return lambda path: save_adapter(path, **changes)


_BAD = "CheckpointError"

CASES: dict[str, Case] = {
    "safetensors: header of 2^63 bytes": Case(_raw(b"{}", 1 << 63), _BAD, "header too large"),
    "safetensors: header of 2^64 - 1 bytes": Case(_raw(b"{}", (1 << 64) - 1), _BAD, "header too large"),
    "safetensors: header of 99 MB, in a sparse file": Case(
        lambda path: (_raw(b"{}", 99_000_000)(path), _grow(WEIGHTS, GIB)(path)), _BAD, "its header has 99,000,000 bytes"
    ),
    "safetensors: header of 300,000 tensors": Case(_many_tensors, _BAD, "its header has"),
    "safetensors: header nested 100,000 deep": Case(
        _raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), _BAD, "recursion limit exceeded"
    ),
    "safetensors: file of 1 TB, nearly empty": Case(
        lambda path: (_raw(b"{}", 200)(path), _grow(WEIGHTS, 1 << 40)(path)), _BAD, "can't be read"
    ),
    "safetensors: tensors that overlap": Case(_overlap, _BAD, "invalid offset"),
    "safetensors: tensor behind the end of the file": Case(
        _tensor(shape=[1, 1 << 38], data_offsets=[0, 1 << 40]), _BAD, "can't be read"
    ),
    "safetensors: tensor that ends before it begins": Case(_tensor(data_offsets=[128, 0]), _BAD, "invalid offset"),
    "safetensors: data type that lies": Case(_tensor(dtype="F64"), _BAD, "can't be read"),
    "safetensors: unknown data type": Case(_tensor(dtype="X9"), _BAD, "unknown variant"),
    "safetensors: shape whose product overflows": Case(
        _tensor(b"", shape=[1 << 62, 128], data_offsets=[0, 0]), _BAD, "overflow"
    ),
    "safetensors: shape of a million dimensions": Case(_tensor(shape=[1] * 10**6 + [32]), _BAD, "missing", "load"),
    "safetensors: a FIFO": Case(_fifo(WEIGHTS), _BAD, "holds no weights"),
    "safetensors: a link to /dev/zero": Case(_link(WEIGHTS, "/dev/zero"), _BAD, "holds no weights"),
    "safetensors: a link to /etc/passwd": Case(_link(WEIGHTS, "/etc/passwd"), _BAD, "header too large"),
    ".bin: pickle that makes a directory": Case(_code, _BAD, "holds code"),
    ".bin: the same in torch's old format": Case(_old_code, _BAD, "holds code"),
    ".bin: zip bomb, a pickle of 256 MiB in 1 MiB": Case(
        lambda path: _compressed(path, GIB // 4), _BAD, "it is a compressed zip file"
    ),
    ".bin: compressed weights": Case(_compressed, _BAD, "it is a compressed zip file", "load"),
    ".bin: zip entry whose sizes lie": Case(_lying_entry, _BAD, "its entries are larger than the file"),
    ".bin: old format whose sizes lie": Case(_lying_storage, _BAD, "can't be read as plain tensors"),
    ".bin: tensor of 10^12 rows that are one": Case(_bin(_expand), _BAD, "isn't a plain tensor", "plan"),
    ".bin: sparse tensor of 10^18 numbers": Case(_bin(_sparse), _BAD, "isn't a plain tensor", "plan"),
    ".bin: tensor of 10^18 numbers without data": Case(_bin(_no_data), _BAD, "isn't a plain tensor", "plan"),
    "shard index: ../../etc/passwd": Case(
        _index({"score.weight": "../../etc/passwd"}), _BAD, "which isn't a file beside it"
    ),
    "shard index: /etc/passwd": Case(_index({"score.weight": "/etc/passwd"}), _BAD, "which isn't a file beside it"),
    "shard index: a name of 5,000 characters": Case(
        _index({"score.weight": "a" * 5000}), _BAD, "which isn't a file beside it"
    ),
    "shard index: a name with a null byte": Case(_index({"score.weight": "a\0b"}), _BAD, "which is missing"),
    "shard index: nested 100,000 deep": Case(
        lambda path: (_index({})(path), _nested(INDEX)(path)), _BAD, "maximum recursion depth"
    ),
    "shard index: a shard that is a FIFO": Case(_shard(_fifo), _BAD, "which is missing"),
    "shard index: a shard that is /dev/zero": Case(
        _shard(lambda name: _link(name, "/dev/zero")), _BAD, "which is missing"
    ),
    "config.json: nested 100,000 deep": Case(_nested("config.json"), _BAD, "maximum recursion depth"),
    "config.json: a FIFO": Case(_fifo("config.json"), _BAD, "has no config.json"),
    "config.json: a link to /dev/zero": Case(_link("config.json", "/dev/zero"), _BAD, "has no config.json"),
    "config.json: 8 GiB": Case(_grow("config.json", 8 * GIB), _BAD, "no configuration or tokenizer has"),
    "config.json: a number of a million digits": Case(
        _text("config.json", '{"a":' + "9" * 10**6 + "}"), _BAD, "isn't JSON"
    ),
    "config.json: architectures that are a number": Case(_config(architectures=5), _BAD, "isn't a list"),
    "config.json: 10^9 layers": Case(_config(num_hidden_layers=10**9), _BAD, "num_hidden_layers 1000000000", "load"),
    "config.json: 50,000 layers": Case(
        _config(num_hidden_layers=50_000), "UnsupportedModelError", "much larger than the", "load"
    ),
    "config.json: hidden size 10^6": Case(
        _config(hidden_size=10**6), "UnsupportedModelError", "much larger than the", "load"
    ),
    "config.json: vocabulary of 10^9": Case(
        _config(vocab_size=10**9), "UnsupportedModelError", "much larger than the", "load"
    ),
    "config.json: 10^9 labels": Case(_config(num_labels=10**9, id2label=None), _BAD, "num_labels 1000000000"),
    "config.json: code beside the weights (auto_map)": Case(_own_code, "UnsupportedModelError", "'own'", "load"),
    "config.json: code from the hub (auto_map)": Case(
        _config(model_type="own", auto_map={"AutoModel": "evil/model--own.Own", "AutoConfig": "evil/model--own.Own"}),
        "UnsupportedModelError",
        "can't load",
        "load",
    ),
    "config.json: kernels from the hub (_attn_implementation)": Case(
        _config(_attn_implementation="evil/kernels"), _BAD, "names code to run"
    ),
    "tokenizer_config.json: code beside it (auto_map)": Case(_own_tokenizer, _BAD, "has no tokenizer"),
    "tokenizer_config.json: a file outside": Case(
        lambda path: edit_tokenizer_config(path, fast_tokenizer_files=["../../../etc/tokenizer.1.0.json"]),
        _BAD,
        "has no tokenizer",
    ),
    "tokenizer_config.json: nested 100,000 deep": Case(
        _nested("tokenizer_config.json"), _BAD, "has no tokenizer that can be read"
    ),
    "tokenizer.json: 8 GiB": Case(_grow("tokenizer.json", 8 * GIB), _BAD, "no configuration or tokenizer has"),
    "tokenizer.json: nested 100,000 deep": Case(_nested("tokenizer.json"), _BAD, "maximum recursion depth"),
    "tokenizer.json: text doubled 40 times": Case(
        _tokenizer(normalizer={"type": "Sequence", "normalizers": [_replace("aa")] * 40}), _BAD, "characters of one"
    ),
    "tokenizer.json: 10 MB before every text": Case(
        _tokenizer(normalizer={"type": "Prepend", "prepend": "a" * 10**7}), _BAD, "characters of one"
    ),
    "tokenizer.json: every text 100,000 times": Case(
        _tokenizer(post_processor=_template([_SEQUENCE] * 10**5)), _BAD, "characters of one"
    ),
    "tokenizer.json: 10^8 tokens around every text": Case(
        _tokenizer(post_processor=_template([_SPECIAL, _SEQUENCE] * 99 + [_SPECIAL] * 10**3, x=[1] * 10**5)),
        _BAD,
        "adds 109,900,000 tokens",
    ),
    "tokenizer.json: table that makes the library panic": Case(
        _tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), _BAD, "panicked"
    ),
    "tokenizer.json: vocabulary without unknown token": Case(
        _tokenizer(model={"type": "Unigram", "unk_id": None, "vocab": [["z", 0.0]]}), _BAD, "unk_id"
    ),
    "tokenizer.json: catastrophic expression": Case(
        _tokenizer(pre_tokenizer=_CATASTROPHIC), "ContractError", "retry-limit-in-match over", "tokenize"
    ),
    "adapter_config.json: base /etc": Case(_adapter(base_model_name_or_path="/etc"), _BAD, "/etc has no config.json"),
    "adapter_config.json: base that is itself": Case(
        lambda path: save_adapter(path, base_model_name_or_path=str(path)), _BAD, "is an adapter itself"
    ),
    "adapter_config.json: base that is a number": Case(
        _adapter(base_model_name_or_path=5), _BAD, "doesn't say what it was trained on"
    ),
    "adapter_config.json: catastrophic expression": Case(
        _adapter(target_modules="(a|[a-z._0-9]+)+!"), _BAD, "may take hours", "load"
    ),
    "adapter_config.json: nested 100,000 deep": Case(_nested("adapter_config.json"), _BAD, "maximum recursion depth"),
    "reward_contract.json: nested 100,000 deep": Case(_nested("reward_contract.json"), _BAD, "maximum recursion depth"),
}
