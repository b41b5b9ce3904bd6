"""What a checkpoint holds, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rewardserve._contract import Normalization, Tokenization

from rewardserve_export.checkpoint import Checkpoint, open_checkpoint

__all__ = ["CheckpointReport", "TokenizerReport", "inspect_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class TokenizerReport:
    """What a tokenizer does to a text.

    Attributes:
        sha256: Of the `tokenizer.json` that an export would carry.
        size: Number of tokens it knows.
        bos_token: Its BOS, or None.
        eos_token: Its EOS, or None.
        adds_bos: Whether it puts BOS before a text.
        adds_eos: Whether it puts EOS behind a text.
    """

    sha256: str
    size: int
    bos_token: str | None
    eos_token: str | None
    adds_bos: bool
    adds_eos: bool


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """What a checkpoint holds.

    Attributes:
        path: Its directory.
        format: The tool that wrote it.
        architecture: As `config.json` names it.
        model_type: The backbone's family in transformers.
        parameters: Numbers in all tensors together; an adapter's base counts.
        dtypes: How many tensors are stored in each data type.
        hidden_size: Width of the backbone.
        max_position_embeddings: Longest sequence that the backbone was made for, or None.
        head: Key of the value head, or None: untrained.
        head_file: Where that lies, or None: untrained.
        labels: Names of the head's outputs, in order; None for one output.
        adapter: The adapter's directory, or None.
        base: What the adapter is merged into, or None.
        normalization: Of its rewards, or None.
        tokenizer: The one saved with it.
        trained_tokenization: How the training turned text into tokens, where it wrote that down, else None.
    """

    path: Path
    format: str
    architecture: str
    model_type: str
    parameters: int
    dtypes: dict[str, int]
    hidden_size: int | None
    max_position_embeddings: int | None
    head: str | None
    head_file: Path | None
    labels: tuple[str, ...] | None
    adapter: Path | None
    base: Path | None
    normalization: Normalization | None
    tokenizer: TokenizerReport
    trained_tokenization: Tokenization | None


def inspect_checkpoint(
    source: str | Path, *, base: str | Path | None = None, value_head_prefix: str | None = None
) -> CheckpointReport:
    """Says what a checkpoint holds, from its headers: no weight is loaded.

    Args:
        source: A directory, or the name of a repository on the Hugging Face Hub.
        base: For an adapter, the model it was trained on; by default the one that `adapter_config.json` names.
        value_head_prefix: Name of the value head, without `.weight`; by default where its trainer keeps it.

    Raises:
        CheckpointError: It isn't a reward model that can be read.
    """
    return _report(open_checkpoint(source, base=base, value_head_prefix=value_head_prefix))


def _report(checkpoint: Checkpoint) -> CheckpointReport:
    config, tokenizer, adapter = checkpoint.config, checkpoint.tokenizer, checkpoint.files.adapter
    return CheckpointReport(
        path=checkpoint.directory,
        format=checkpoint.format.name,
        architecture=", ".join(config.get("architectures") or ["?"]),
        model_type=config.get("model_type", "?"),
        parameters=checkpoint.parameters,
        dtypes=checkpoint.dtypes,
        hidden_size=config.get("hidden_size"),
        max_position_embeddings=checkpoint.positions,
        head=checkpoint.head.weight,
        head_file=checkpoint.head.file,
        labels=checkpoint.labels,
        adapter=checkpoint.directory if adapter else None,
        base=adapter.base.directory if adapter else None,
        normalization=checkpoint.normalization,
        tokenizer=TokenizerReport(
            sha256=tokenizer.sha256,
            size=tokenizer.size,
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            adds_bos=tokenizer.adds_bos,
            adds_eos=tokenizer.adds_eos,
        ),
        trained_tokenization=checkpoint.trained_tokenization,
    )
