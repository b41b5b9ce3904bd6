"""The text that each token stands for, by tokenizers that write spaces and characters in different ways."""

from __future__ import annotations

import pytest
from rewardserve import Tokenization
from rewardserve._tokenizer import Encoder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = "Grüße, 你好! 🙂 two  spaces\nand a line"


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["two spaces and a line"] * 3, trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama 2's: spaces are part of tokens, unknown characters are bytes, and one space at the start is dropped."""
    vocabulary = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *"Gre,!twospacndlineß"]
    tokenizer = Tokenizer(
        models.BPE(dict(zip(vocabulary, range(len(vocabulary)), strict=False)), [], byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_the_texts_joined_are_the_text(make: object) -> None:
    tokenizer: Tokenizer = make()  # type: ignore[operator]
    encoder = Encoder(tokenizer, Tokenization(tokenizer_sha256="", max_length=512))
    ids = tokenizer.encode(TEXT).ids
    texts = encoder.token_texts(ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == TEXT
    assert "" in texts  # a byte of a character
    assert encoder.token_texts([]) == []


def test_a_character_that_is_cut_off_shows() -> None:
    tokenizer = byte_level()
    encoder = Encoder(tokenizer, Tokenization(tokenizer_sha256="", max_length=512))
    ids = tokenizer.encode("a 🙂").ids[:-1]
    assert "".join(encoder.token_texts(ids)) == "a \N{REPLACEMENT CHARACTER}"
