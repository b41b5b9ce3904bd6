"""A checkpoint as found on disk: its format, head, normalisation and tokenizer, without its weights in memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._contract import Normalization, Tokenization
from transformers import AutoConfig

from rewardserve_export.checkpoint._files import CheckpointFiles, read_files
from rewardserve_export.checkpoint._tokenizer import CheckpointTokenizer, has_tokenizer, read_tokenizer
from rewardserve_export.checkpoint._trained_tokenization import read_trained_tokenization
from rewardserve_export.checkpoint._value_head import HeadLocation
from rewardserve_export.checkpoint._weights import WeightFiles
from rewardserve_export.checkpoint.formats import CheckpointFormat, Contents, detect

__all__ = ["Checkpoint", "open_checkpoint"]

_POSITIONS_BEHIND_PADDING = {"camembert", "longformer", "roberta", "xlm-roberta", "xlm-roberta-xl"}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        files: On disk, those of an adapter's base included.
        format: Which tool wrote it.
        contents: What that tool put where.
        tokenizer: The one saved with it; with an adapter that has none, its base's.
        trained_tokenization: How the training turned text into tokens, where it wrote that down, else None.
    """

    files: CheckpointFiles
    format: CheckpointFormat
    contents: Contents
    tokenizer: CheckpointTokenizer
    trained_tokenization: Tokenization | None

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self.files.directory

    @property
    def tokenizer_directory(self) -> Path:
        """Where its tokenizer lies: with an adapter that has none, beside its base."""
        return self.directory if has_tokenizer(self.directory) else self.files.model.directory

    @property
    def config(self) -> dict[str, Any]:
        """The backbone's `config.json`: an adapter's is its base's."""
        return self.files.model.config

    @property
    def weights(self) -> WeightFiles:
        """Its own tensors, without value-head files, adapter and base."""
        return self.files.weights

    @property
    def head(self) -> HeadLocation:
        """Where its value head is."""
        return self.contents.head

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the head's outputs, in order; None for one output."""
        return self.contents.labels

    @property
    def normalization(self) -> Normalization | None:
        """Of its rewards, or None."""
        return self.contents.normalization

    @property
    def backbone_config(self) -> Any:
        """The backbone's configuration, of transformers' class for its family; None where it can't be read."""
        try:
            return AutoConfig.from_pretrained(
                self.files.model.directory, local_files_only=True, trust_remote_code=False
            ).get_text_config()
        except Exception:  # loading the weights will say what is wrong with it
            return None

    @property
    def positions(self) -> int | None:
        """Tokens of the longest sequence that the backbone was made for, or None: unbounded.

        By transformers' configuration class, which knows each family's name for it. RoBERTa and its kin count positions
        from behind the padding's.
        """
        config = self.backbone_config
        limit: int | None = getattr(config, "max_position_embeddings", None)
        if limit is not None and config.model_type in _POSITIONS_BEHIND_PADDING:
            limit -= (config.pad_token_id or 0) + 1
        return limit

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold together, those of an adapter's base included."""
        return sum(store.parameters for store in self.files.stores)

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors are stored in each data type, the commonest first."""
        tensors = (tensor for store in self.files.stores for tensor in store.tensors.values())
        return dict(Counter(tensor.dtype for tensor in tensors).most_common())

    def digest(self) -> str:
        """sha256 over all that the rewards depend on.

        Names and contents of configs and weights (the adapter's and its base's included), where the head was found,
        and the tokenizer; not where the files lie.
        """
        digest = hashlib.sha256()
        for role, file in self.files.read_paths():
            digest.update((role + file.name).encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        digest.update(str(self.head.weight).encode())
        digest.update(self.tokenizer.content)
        return digest.hexdigest()


def open_checkpoint(
    source: str | Path,
    *,
    base: str | Path | None = None,
    value_head_prefix: str | None = None,
    headless: bool = False,
) -> Checkpoint:
    """Reads everything about a checkpoint but its weights.

    Args:
        source: A directory, or the name of a repository on the Hugging Face Hub.
        base: For an adapter, the model it was trained on; by default the one that `adapter_config.json` names.
        value_head_prefix: Name of the value head, without `.weight`; by default where its trainer keeps it.
        headless: Whether a plain language model, or a backbone, will do: a reward model in the making.

    Raises:
        CheckpointError: It isn't a reward model that can be read.
    """
    files = read_files(source, base=base, value_head_prefix=value_head_prefix)
    found = detect(files, headless=headless)
    return Checkpoint(
        files=files,
        format=found,
        contents=found.read(files),
        tokenizer=read_tokenizer(files.directory if has_tokenizer(files.directory) else files.model.directory),
        trained_tokenization=read_trained_tokenization(files.directory),
    )
