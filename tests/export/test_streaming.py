"""Weights that stay in their files: the same numbers as in memory, and hardly any memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rewardserve import UnsupportedModelError
from rewardserve_export.checkpoint import (
    Float32Arithmetic,
    RewardModel,
    _arithmetic,
    _mapped,
    chunks,
    load_reward_model,
    open_checkpoint,
    pages_released,
)
from rewardserve_export.graph import GraphLimits, _streaming, trace_onnx, write_onnx
from rewardserve_export.parity import _check, check_parity
from safetensors.torch import load_file, save_file
from support.checkpoints import edit_config, llama_config, save_huggingface
from support.families import FAMILIES, build
from support.formats import FORMS, PLAIN, Form, one_thread, rewards_of, write_weights
from torch import nn
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

LIMITS = GraphLimits(vocab_size=200, max_length=64, max_request_tokens=64)
IDS = torch.arange(2, 50)[None]


def both(directory: Path) -> tuple[RewardModel, RewardModel]:
    """The same checkpoint in memory and mapped."""
    checkpoint = open_checkpoint(directory)
    return load_reward_model(checkpoint), load_reward_model(checkpoint, mapped=True)


def in_files(model: RewardModel, directory: Path) -> set[str]:
    """Names of the parameters that lie in mappings of the checkpoint's files."""
    ranges = _mapped._mappings({str(file) for file in directory.resolve().iterdir()})
    return {
        name
        for name, parameter in model.named_parameters()
        if any(0 <= parameter.data_ptr() - start < length for start, length in ranges)
    }


def narrow(directory: Path, dtype: torch.dtype, suffix: str) -> None:
    """Stores every tensor of some files in another type."""
    for file in directory.glob(f"*{suffix}"):
        tensors = torch.load(file) if suffix == ".bin" else load_file(file)
        tensors = {key: tensor.to(dtype) for key, tensor in tensors.items()}
        if suffix == ".bin":
            torch.save(tensors, file)
        else:
            save_file(tensors, file, metadata={"format": "pt"})


def save_family(model_type: str, directory: Path) -> Path:
    """A bfloat16 classifier of a family."""
    family = next(family for family in FAMILIES if family.model_type == model_type)
    config = build(family).backbone.config
    config.num_labels = 1
    torch.manual_seed(0)
    return save_huggingface(directory, AutoModelForSequenceClassification.from_config(config).bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PLAIN)
def test_every_format_stays_in_its_files(name: str, form: Form, dtype: torch.dtype, tmp_path: Path) -> None:
    directory = PLAIN[name][0](tmp_path, form)
    narrow(directory, dtype, ".bin" if form.startswith("bin") else ".safetensors")
    memory, mapped = both(directory)
    backbone = {f"backbone.{name}" for name, _ in mapped.backbone.named_parameters()}
    assert in_files(mapped, directory) >= backbone
    assert {parameter.dtype for parameter in mapped.backbone.parameters()} == {dtype}
    assert type(mapped.backbone) is type(memory.backbone)
    with Float32Arithmetic():
        assert torch.equal(rewards_of(mapped), rewards_of(memory))


# Scaled embeddings; transposed projections; positions; an encoder's head; fused experts, which transformers makes in
# memory.
@pytest.mark.parametrize(
    ("model_type", "in_memory"),
    [("gemma2", ()), ("gpt2", ()), ("opt", ()), ("bert", ()), ("qwen3_moe", ("gate_up_proj", "down_proj"))],
)
def test_other_families_stay_as_far_as_they_can(model_type: str, in_memory: tuple[str, ...], tmp_path: Path) -> None:
    directory = save_family(model_type, tmp_path)
    memory, mapped = both(directory)
    kept = {name.removeprefix("backbone.") for name in in_files(mapped, directory)}
    others = {name for name, _ in mapped.backbone.named_parameters()} - kept
    assert all(name.endswith(in_memory) for name in others)
    assert bool(others) == bool(in_memory)
    with one_thread(), torch.inference_mode(), Float32Arithmetic():
        assert torch.equal(mapped(IDS), memory(IDS))


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_the_graph_is_the_same_to_the_byte(model_type: str, tmp_path: Path) -> None:
    written = []
    for model in both(save_family(model_type, tmp_path / "checkpoint")):
        directory = tmp_path / str(len(written))
        directory.mkdir()
        path = write_onnx(trace_onnx(model, LIMITS), directory)
        written.append((path.read_bytes(), path.with_name("model.onnx.data").read_bytes()))
    assert written[0] == written[1]


def test_a_parameter_keeps_its_own_data_type(tmp_path: Path) -> None:
    """A float32 norm among bfloat16 weights isn't rounded."""
    directory = save_huggingface(tmp_path)
    tensors = {key: tensor.bfloat16() for key, tensor in load_file(directory / "model.safetensors").items()}
    norm = torch.full((32,), 1.0001)
    write_weights(directory, {**tensors, "model.norm.weight": norm})
    memory, mapped = both(directory)
    assert torch.equal(mapped.backbone.norm.weight, norm)
    assert mapped.backbone.embed_tokens.weight.dtype == torch.bfloat16
    with Float32Arithmetic():
        assert torch.equal(rewards_of(mapped), rewards_of(memory))


@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "mapped"])
def test_quantised_weights_are_refused(mapped: bool, tmp_path: Path) -> None:
    directory = save_huggingface(tmp_path)
    edit_config(directory, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(UnsupportedModelError, match=r"is quantised \(bitsandbytes"):
        load_reward_model(open_checkpoint(directory), mapped=mapped)


def test_arithmetic_is_float32_whatever_is_asked_of_a_weight() -> None:
    weight = nn.Parameter(torch.randn(3, 4).bfloat16(), requires_grad=False)
    wide, states, bias = weight.float(), torch.randn(2, 4), torch.zeros(3)
    with Float32Arithmetic():
        assert weight.dtype == torch.float32
        assert torch.equal(states @ weight.T, states @ wide.T)
        assert torch.equal(torch.addmm(bias, states, weight.t()), torch.addmm(bias, states, wide.t()))
        assert torch.equal(weight[1] * 3, wide[1] * 3)
    assert weight.dtype == torch.bfloat16


def test_a_wide_linear_layer_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(8, 50).bfloat16().requires_grad_(False)
    states = torch.randn(5, 8)
    expected = nn.functional.linear(states, layer.weight.float(), layer.bias.float())
    monkeypatch.setattr(_arithmetic, "_CHUNK", 7 * 8 * 4)
    with Float32Arithmetic():
        torch.testing.assert_close(layer(states), expected, atol=1e-6, rtol=0)


def test_no_weight_is_widened_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a question that a model asks of its first parameter, the vocabulary."""
    directory = save_family("llama", tmp_path)
    model = load_reward_model(open_checkpoint(directory), mapped=True)
    widened: list[torch.Size] = []
    widen = _arithmetic._widen

    def spy(value: object) -> object:
        if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
            widened.append(value.shape)
        return widen(value)

    monkeypatch.setattr(_arithmetic, "_widen", spy)
    monkeypatch.setattr(_arithmetic, "_CHUNK", 8 * 48 * 4)
    with one_thread(), torch.inference_mode(), Float32Arithmetic():
        model(IDS)
        assert model.backbone.dtype == torch.float32
    assert {len(shape) for shape in widened} == {1, 2, 3}, "norms, pieces of projections, rows of the vocabulary"
    assert max(shape[0] for shape in widened if len(shape) == 2) <= 12


@pytest.mark.parametrize(("shape", "size"), [((10, 4), 3 * 16), ((10, 4), 1), ((10,), 1000), ((0, 4), 8)])
def test_chunks_cover_a_tensor(shape: tuple[int, ...], size: int) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape)
    parts = [tensor[rows] for rows in chunks(tensor, torch.float32, size)]
    assert torch.equal(torch.cat([tensor[:0], *parts]), tensor)
    assert all(part.numel() * 4 <= size or part.shape[0] == 1 for part in parts)


def test_a_transposed_weight_is_written_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_streaming, "_CHUNK", 4 * 64 * 3)
    parameter = torch.randn(64, 96).bfloat16()
    weight = _streaming.StreamedWeight(parameter, torch.float32, (0, 1), "weight").transposed([1, 0])
    with (tmp_path / "file").open("wb") as file:
        weight.tofile(file)
    expected = parameter.T.float().contiguous().numpy()
    assert (tmp_path / "file").read_bytes() == expected.tobytes() == weight.tobytes()
    assert (weight.numpy() == expected).all()


def test_writing_is_reported_in_bytes(model: RewardModel, limits: GraphLimits, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    before = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    path = write_onnx(trace_onnx(model, limits), tmp_path, lambda done, total: steps.append((done, total)))
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == before, "the model is whole"
    size = path.with_name("model.onnx.data").stat().st_size
    assert steps == sorted(steps)
    assert len(steps) > 10
    assert size <= steps[0][1] < 1.1 * size  # the smallest initializers lie in model.onnx
    assert 0.5 * size < steps[-1][0] < size


def test_a_large_model_is_checked_on_few_sequences(
    model: RewardModel, graph: Path, limits: GraphLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_check, "_LARGE", 0)
    parity = check_parity(model, graph, limits, lambda *_: None)
    assert parity.sequences == 4
    assert 0 < parity.largest_difference < 1e-5


def resident(file: Path) -> int:
    """Bytes of a mapped file in this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    headers = [place for place, line in enumerate(lines) if line.endswith(str(file))]
    found = (next(line for line in lines[place:] if line.startswith("Rss:")) for place in headers)
    return 1024 * sum(int(line.split()[1]) for line in found)


def test_pages_are_given_back_and_come_again(tmp_path: Path) -> None:
    file = tmp_path.resolve() / "weights.safetensors"
    numbers = torch.randn(1 << 22)
    save_file({"weight": numbers}, file)
    mapped = load_file(file)["weight"]
    assert torch.equal(mapped, numbers)
    assert resident(file) == pytest.approx(numbers.nbytes, rel=0.1)
    with pages_released([file]):
        deadline = time.monotonic() + 30
        while resident(file) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not resident(file)
    assert torch.equal(mapped, numbers)


def save_wide(directory: Path) -> Path:
    """100M parameters in one layer, bfloat16."""
    config = llama_config(hidden_size=1024, intermediate_size=32768, num_hidden_layers=1)
    with torch.device("meta"):
        model = LlamaForSequenceClassification(config).bfloat16()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    return save_huggingface(directory, model)


MEASURE = """
import sys, threading
from pathlib import Path
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits, trace_onnx, write_onnx

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

checkpoint = open_checkpoint(sys.argv[1])
limits = GraphLimits(vocab_size=400, max_length=64, max_request_tokens=64)
Path(sys.argv[2], "warm").mkdir()
write_onnx(trace_onnx(load_reward_model(open_checkpoint(sys.argv[3])), limits), Path(sys.argv[2], "warm"))
start, peak, done = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
model = load_reward_model(checkpoint, mapped=True)
write_onnx(trace_onnx(model, limits), Path(sys.argv[2]))
done.set()
watcher.join()
print(peak - start)
whole = load_reward_model(checkpoint)
print(anonymous() - start)
"""


def test_an_export_needs_a_fraction_of_its_weights(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, save_wide(tmp_path / "wide"), tmp_path, checkpoint]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    streamed, loaded = (int(line) for line in result.stdout.split())
    size = (tmp_path / "model.onnx.data").stat().st_size
    assert size > 400e6
    assert loaded > 0.9 * size
    assert streamed < 0.5 * size
