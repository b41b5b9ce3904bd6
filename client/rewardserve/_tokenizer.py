"""The tokenizer that a contract names: found, checked by its sha256, applied."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardserve._contract import Tokenization
from rewardserve._errors import (
    ContractError,
    DoubledBosError,
    EmptyTextError,
    TextTooLongError,
    TextTypeError,
    TokenizerMismatchError,
)
from rewardserve._tokenizer_guard import check_growth, panics_as_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Encoder", "load_tokenizer"]

_NO_CACHE = (OSError, RuntimeError)
"""The cache can't be read or written; Path.home() raises RuntimeError where there is no home."""


def load_tokenizer(sha256: str, path: str | os.PathLike[str] | None, fetch: Callable[[], bytes]) -> Tokenizer:
    """Gets the tokenizer with this sha256: from a path, from the cache, or from the server.

    Args:
        sha256: Of the `tokenizer.json` file, in hexadecimal.
        path: A `tokenizer.json`, or a directory that holds one; None looks into the cache, then calls `fetch`.
        fetch: Returns the file's bytes, from the server.

    Raises:
        TokenizerMismatchError: The file is missing, or another one.
        ContractError: The installed tokenizers library can't read it, or it makes far too much of a text.
        ServerError: From `fetch`.
    """
    content = _read_given(Path(path), sha256) if path is not None else _cached_or_fetched(sha256, fetch)
    check_growth(content)
    import tokenizers

    try:
        with panics_as_errors():
            tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises nothing narrower
        raise ContractError(
            f"tokenizers {tokenizers.__version__} can't read the model's tokenizer.json ({error}). "
            "Remedy: install the version of tokenizers that the export ran with, or a later one"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_given(path: Path, sha256: str) -> bytes:
    file = path / "tokenizer.json" if path.is_dir() else path
    remedy = "Remedy: pass the exported tokenizer.json, or tokenizer=None to get the server's"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TokenizerMismatchError(f"there is no tokenizer to read at {file} ({error.strerror}). {remedy}") from error
    if _sha256(content) != sha256:
        raise TokenizerMismatchError(
            f"{file} has sha256 {_sha256(content)}, the served model was exported with {sha256}: other token ids would "
            f"give other rewards. {remedy}"
        )
    return content


def _cached_or_fetched(sha256: str, fetch: Callable[[], bytes]) -> bytes:
    """A cache that can't be read or written costs a fetch, and is no error."""
    with contextlib.suppress(*_NO_CACHE):
        content = _cache_file(sha256).read_bytes()
        if _sha256(content) == sha256:
            return content
    content = fetch()
    if _sha256(content) != sha256:
        raise TokenizerMismatchError(
            f"the server handed out a tokenizer with sha256 {_sha256(content)}, its contract names {sha256}. "
            "Remedy: export the model again"
        )
    with contextlib.suppress(*_NO_CACHE):
        _write_atomically(_cache_file(sha256), content)
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _cache_file(sha256: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "rewardserve" / "tokenizers" / f"{sha256}.json"


def _write_atomically(path: Path, content: bytes) -> None:
    """Other processes see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise


class Encoder:
    """Turns texts into the token ids that the contract scores.

    Args:
        tokenizer: The one that the contract names.
        tokenization: The contract's.
    """

    def __init__(self, tokenizer: Tokenizer, tokenization: Tokenization) -> None:
        self._tokenizer = tokenizer
        self._tokenization = tokenization
        bos = tokenization.bos_token
        self._bos_id = tokenizer.token_to_id(bos) if bos is not None else None
        if tokenization.truncation == "error":
            tokenizer.no_truncation()
        else:
            # The tokenizer cuts the text, not the special tokens that it puts around it.
            tokenizer.enable_truncation(tokenization.max_length, direction=tokenization.truncation)

    def encode(self, texts: Sequence[str], *, chat: bool = False, start: int = 0) -> tuple[list[list[int]], list[int]]:
        """Tokenizes texts in one batch.

        Args:
            texts: Whole texts.
            chat: Whether they are rendered conversations: then special tokens are in the text already.
            start: Position of the first text, from which all are counted.

        Returns:
            The token ids of each text, and the positions of the texts that were truncated.

        Raises:
            TextTypeError: An item isn't a string of Unicode text.
            EmptyTextError: An item has no token.
            DoubledBosError: An item begins with two BOS.
            TextTooLongError: An item has too many, and the contract doesn't truncate.
            ContractError: The tokenizer itself fails.
        """
        rules = self._tokenization
        prepared = [self._prepare(index, text, chat) for index, text in enumerate(texts, start)]
        try:
            with panics_as_errors():
                encodings = self._tokenizer.encode_batch_fast(
                    prepared, add_special_tokens=rules.add_special_tokens and not chat
                )
        except Exception as error:  # the library raises nothing narrower, and doesn't say at which text
            raise ContractError(
                f"the model's tokenizer fails on texts of this call ({error}). Remedy: export the model with a "
                "tokenizer that takes any text"
            ) from error
        truncated = [index for index, encoding in enumerate(encodings, start) if encoding.overflowing]
        return [self._finish(index, encoding.ids, chat) for index, encoding in enumerate(encodings, start)], truncated

    def vocabulary(self) -> dict[str, int]:
        """All tokens, added ones too, and their ids."""
        return self._tokenizer.get_vocab()

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds to those before it; "" where it only begins a character.

        Decoded alone, a token may lose its leading space or be a part of a character: so each is decoded behind the
        piece of text before it.
        """
        texts: list[str] = []
        context = done = 0
        for end in range(1, len(ids) + 1):
            before = self._tokenizer.decode(ids[context:done], skip_special_tokens=False)
            text = self._tokenizer.decode(ids[context:end], skip_special_tokens=False)
            if text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids):
                texts.append("")
            else:
                texts.append(text[len(before) :])
                context, done = done, end
        return texts

    def _prepare(self, index: int, text: str, chat: bool) -> str:
        if not isinstance(text, str):
            raise TextTypeError(
                index, f"is of type {type(text).__name__}, not a string. Remedy: pass texts, or use score_tokens"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TextTypeError(
                index,
                f"holds a lone surrogate (character {error.start}), which no tokenizer takes. "
                'Remedy: text.encode(errors="replace").decode()',
            ) from error
        if not text:
            raise EmptyTextError(index, "is empty: there is no token to score. Remedy: leave it out")
        rules = self._tokenization
        if chat and not rules.chat_as_text:
            return text
        if rules.strip_newlines:
            text = text.rstrip("\n")
        if rules.eos_suffix is not None and not (rules.eos_token and text.endswith(rules.eos_token)):
            text += rules.eos_suffix
        return text

    def _finish(self, index: int, ids: list[int], chat: bool) -> list[int]:
        rules = self._tokenization
        if not ids:
            raise EmptyTextError(index, "has no token after tokenization. Remedy: leave it out")
        self._check_bos(index, ids, chat)
        if len(ids) > rules.max_length:
            raise TextTooLongError(
                index,
                f"has {len(ids)} tokens, the model was exported for at most {rules.max_length}. "
                "Remedy: shorten it, or export with a larger --max-length or with --truncation",
            )
        if rules.forced_last_id is not None and (rules.chat_as_text or not chat):
            ids[-1] = rules.forced_last_id
        return ids

    def _check_bos(self, index: int, ids: list[int], chat: bool) -> None:
        if self._bos_id is None or ids[:2] != [self._bos_id] * 2:
            return
        rules = self._tokenization
        if chat:
            why, remedy = "its first message begins with one behind the chat template's", "remove it there"
        elif rules.adds_bos:
            why = "the text begins with one, and the tokenizer adds another"
            remedy = "remove it from the text, or pass the conversation to score_chat instead of its rendered text"
        else:
            why, remedy = "the text does", "remove one"
        bos = repr(rules.bos_token)
        raise DoubledBosError(index, f"begins with {bos} twice: {why}. Remedy: {remedy}; or score_tokens takes any ids")
