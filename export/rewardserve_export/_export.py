"""Checkpoint in, published version of a Triton model out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardserve._contract import Parity, RewardContract, Tokenization
from rewardserve._errors import CheckpointError, ExportError, UntrainedHeadError
from rewardserve._manifest import Probes

from rewardserve_export._options import ExportOptions, Limits
from rewardserve_export._reference import (
    RewardReference,
    reference_of_normalization,
    reference_of_rewards,
    reference_tokens,
    score_reference,
)
from rewardserve_export._tokenization import default_max_length, tokenization_of
from rewardserve_export.checkpoint import (
    Checkpoint,
    Float32Arithmetic,
    RewardModel,
    load_reward_model,
    open_checkpoint,
    pages_released,
)
from rewardserve_export.graph import GraphLimits, probe, trace_onnx, write_onnx, write_torchscript
from rewardserve_export.parity import Rewards, Tokens, check_parity
from rewardserve_export.repository import (
    ModelDirectory,
    publish,
    reward_config,
    stage_companions,
    stage_manifest,
    stage_version,
    stage_warmup,
    staging,
)

__all__ = ["ExportSummary", "Progress", "export"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps of it done, and steps in all (0 while unknown)."""

_UNMEASURED = Parity(sequences=0, largest_difference=0.0, batch_deviation=0.0)
"""Of a contract whose graph isn't there yet: the graph holds the contract's identity."""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What an export made, and what it took.

    Attributes:
        path: The published version's directory.
        version: Its number.
        contract: The reward contract, parity included.
        max_batch_size: Requests that the server may merge.
        bytes: Of all files of the version.
        seconds: From start to publication.
        peak_memory: Bytes, of the whole process, its past included.
        trained_head: Whether the checkpoint held a value head.
        reference: What the server's metrics compare rewards with, where there is one.
    """

    path: Path
    version: str
    contract: RewardContract
    max_batch_size: int
    bytes: int
    seconds: float
    peak_memory: int
    trained_head: bool
    reference: RewardReference | None


def export(source: str | Path, options: ExportOptions, progress: Progress = lambda *_: None) -> ExportSummary:
    """Exports a checkpoint as the next version of a model in a Triton repository.

    Args:
        source: A checkpoint's directory, or its name on the Hugging Face Hub.
        options: What to make of it.
        progress: Told about each step.

    Raises:
        CheckpointError: The checkpoint can't be read, has an untrained head, or an unsupported architecture.
        ExportError: Tracing, parity or publishing failed. The repository is as it was.
    """
    started = time.monotonic()
    progress("reading the checkpoint", 0, 0)
    checkpoint = open_checkpoint(source, base=options.base, value_head_prefix=options.value_head_prefix)
    _require_head(checkpoint, options)
    _require_one_value(checkpoint, options)
    target = ModelDirectory(options.repository, options.name)
    contracts = target.published_contracts(options.backend)
    version = target.next_version()
    limits = options.limits(checkpoint.positions, default_max_length(checkpoint))
    tokenization = tokenization_of(checkpoint, limits.max_length, options.truncation, options.tokenization)
    progress("loading weights", 0, 0)
    model = load_reward_model(checkpoint, mapped=_stays_mapped(options))

    with staging(target.repository) as staged:
        directory = staged / options.name / version
        directory.mkdir(parents=True)
        with pages_released(checkpoint.weights.files):
            contract = _unmeasured_contract(checkpoint, model, tokenization, limits, options)
            texts = reference_tokens(options.reference or (), contract, checkpoint.tokenizer.content)
            graph, parity, probes = _write_graph(model, _graph_limits(contract), options, directory, progress)
        reference = _reference(graph, options, contract, texts, progress)
        progress("publishing", 0, 0)
        contract = replace(contract, parity=parity)
        stage_version(
            directory,
            options.backend,
            contract,
            checkpoint.tokenizer.content,
            reference=reference.to_json() if reference else None,
        )
        stage_companions(staged, options.name, version, contract, checkpoint.tokenizer.content)
        config = reward_config(
            options.name,
            options.backend,
            contract,
            version=version,
            earlier=contracts,
            threads=options.threads,
            scheduling=options.scheduling,
        )
        stage_warmup(config, staged / options.name)
        stage_manifest(staged, options.name, version, contract, probes)
        path = publish(staged, target, version, config)
    return ExportSummary(
        path=path,
        version=version,
        contract=contract,
        max_batch_size=config.max_batch_size,
        bytes=sum(file.stat().st_size for file in path.iterdir()),
        seconds=time.monotonic() - started,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        trained_head=checkpoint.head.trained,
        reference=reference,
    )


def _require_head(checkpoint: Checkpoint, options: ExportOptions) -> None:
    if not checkpoint.head.trained and not options.allow_untrained_head:
        raise UntrainedHeadError(
            f"{checkpoint.directory} ({checkpoint.format.name}) holds no value head: its rewards would be random. "
            "Remedy: export what the training wrote; to serve a random head on purpose, --allow-untrained-head"
        )


def _require_one_value(checkpoint: Checkpoint, options: ExportOptions) -> None:
    if options.values and (checkpoint.labels or checkpoint.contents.encoder):
        reason = "its head reads the first token only" if checkpoint.contents.encoder else "its head has several labels"
        raise ExportError(f"{checkpoint.directory} has no value at every token: {reason}. Remedy: leave out --values")


def _unmeasured_contract(
    checkpoint: Checkpoint, model: RewardModel, tokenization: Tokenization, limits: Limits, options: ExportOptions
) -> RewardContract:
    with Float32Arithmetic():
        traits = probe(model.backbone, _vocab_size(model))
    return RewardContract(
        tokenization=tokenization,
        vocab_size=_vocab_size(model),
        max_request_tokens=limits.max_request_tokens,
        max_batch_tokens=limits.max_batch_tokens,
        normalization=checkpoint.normalization,
        scored_token=model.scored_token,
        labels=checkpoint.labels,
        values=options.values,
        bidirectional=traits.bidirectional,
        padded=traits.padded,
        precision=options.precision,
        graph=options.graph,
        architecture=type(model.backbone).__name__,
        source_digest=checkpoint.digest(),
        parity=_UNMEASURED,
    )


def _graph_limits(contract: RewardContract) -> GraphLimits:
    return GraphLimits(
        vocab_size=contract.vocab_size,
        max_length=contract.tokenization.max_length,
        max_request_tokens=contract.max_request_tokens,
        bidirectional=contract.bidirectional,
        padded=contract.padded,
        values=contract.values,
        identity=contract.identity,
    )


def _stays_mapped(options: ExportOptions) -> bool:
    """Whether weights are read from the checkpoint's files when they are written: TorchScript holds them in memory."""
    return options.format == "onnx" and options.precision != "int8"


def _write_graph(
    model: RewardModel, limits: GraphLimits, options: ExportOptions, directory: Path, progress: Progress
) -> tuple[Path, Parity, Probes]:
    progress("tracing the packed graph", 0, 0)
    if options.format == "torchscript":
        path = write_torchscript(model, limits, options.precision, directory, operators=options.operators)
    else:
        path = _write_onnx(model, limits, options, directory, progress)
    probes = []

    def record(sequences: Sequence[Tokens], rewards: Rewards, allowed: float) -> None:
        ids = tuple(tuple(tokens.tolist()) for tokens in sequences)
        probes.append(Probes(sequences=ids, rewards=tuple(rewards.tolist()), tolerance=allowed))

    def report(done: int, steps: int) -> None:
        progress("checking parity", done, steps)

    parity = check_parity(model, path, limits, report, options.precision, record=record)
    return path, parity, probes[0]


def _reference(
    graph: Path, options: ExportOptions, contract: RewardContract, texts: Sequence[Tokens], progress: Progress
) -> RewardReference | None:
    if options.backend != "python":
        return None
    if not texts:
        return reference_of_normalization(contract.normalization)
    what = "scoring the reference"
    progress(what, 0, 0)
    rewards = score_reference(graph, options.precision, contract, texts, lambda done, runs: progress(what, done, runs))
    return reference_of_rewards(rewards)


def _write_onnx(
    model: RewardModel, limits: GraphLimits, options: ExportOptions, directory: Path, progress: Progress
) -> Path:
    graph = trace_onnx(model, limits, options.precision, options.attention)
    what = "writing model.onnx"
    progress(what, 0, 0)
    return write_onnx(graph, directory, lambda done, total: progress(what, done, total))


def _vocab_size(model: RewardModel) -> int:
    embeddings = model.backbone.get_input_embeddings()
    size = getattr(embeddings, "num_embeddings", None)
    if not isinstance(size, int):
        raise CheckpointError(f"{type(model.backbone).__name__} has no token embeddings: its vocabulary is unknown")
    return size
