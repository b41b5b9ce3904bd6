"""The formats that reward models come in: one module for each tool, each with a detector and a reader.

The next format is one more module and one more entry in `FORMATS`.
"""

from __future__ import annotations

from rewardserve._errors import CheckpointError

from rewardserve_export.checkpoint._files import CheckpointFiles
from rewardserve_export.checkpoint._value_head import HeadLocation, find_head, head_candidates
from rewardserve_export.checkpoint.formats._deepspeed_chat import DEEPSPEED_CHAT
from rewardserve_export.checkpoint.formats._format import CheckpointFormat, Contents
from rewardserve_export.checkpoint.formats._huggingface import HUGGING_FACE
from rewardserve_export.checkpoint.formats._llama_factory import LLAMA_FACTORY
from rewardserve_export.checkpoint.formats._openrlhf import OPENRLHF
from rewardserve_export.checkpoint.formats._peft import OPENRLHF_LORA, PEFT
from rewardserve_export.checkpoint.formats._trl import TRL, TRL_PEFT, head_only

__all__ = ["FORMATS", "CheckpointFormat", "Contents", "detect"]

FORMATS = (OPENRLHF, HUGGING_FACE, TRL, TRL_PEFT, LLAMA_FACTORY, DEEPSPEED_CHAT, PEFT, OPENRLHF_LORA)


def _read_named(files: CheckpointFiles) -> Contents:
    return Contents(head=find_head(files, files.weights, []))


def _read_headless(files: CheckpointFiles) -> Contents:
    return Contents(head=HeadLocation())


# Any other backbone, once the caller has said which of its tensors is the head.
_NAMED = CheckpointFormat(
    name="transformers with a named head", matches=lambda files: files.value_head_prefix is not None, read=_read_named
)

# What a training starts from; no detector of the others' fits it.
_HEADLESS = CheckpointFormat(
    name="transformers without a value head", matches=lambda files: bool(files.weights.files), read=_read_headless
)


def detect(files: CheckpointFiles, *, headless: bool = False) -> CheckpointFormat:
    """Tells a checkpoint's format.

    Args:
        files: The checkpoint.
        headless: Whether one without any value head has a format, too.

    Raises:
        CheckpointError: None fits, or several do.
    """
    if files.adapter and not head_only(files.weights) and files.weights.tensors:
        raise CheckpointError(
            f"{files.directory} fits two formats: an adapter ({files.adapter.weights.files[0].name}) and a whole model "
            f"({files.weights.files[0].name}). Remedy: keep each in a directory of its own"
        )
    fitting = [candidate for candidate in FORMATS if candidate.matches(files)]
    if len(fitting) > 1:
        raise CheckpointError(
            f"{files.directory} fits {len(fitting)} formats: {' and '.join(known.name for known in fitting)}. "
            "Remedy: keep the files of one of them in a directory of their own"
        )
    if fitting:
        return fitting[0]
    if _NAMED.matches(files):
        return _NAMED
    if headless and _HEADLESS.matches(files):
        return _HEADLESS
    candidates = ", ".join(head_candidates(files)) or "none"
    raise CheckpointError(
        f"{files.directory / 'config.json'} has architectures {files.architectures}, and the weights fit none of the "
        f"formats that this version reads ({', '.join(known.name for known in FORMATS)}). "
        f"Tensors that could be a value head: {candidates}. Remedy: pass a reward model, not a language model; "
        "or name its head (--value-head-prefix)"
    )
