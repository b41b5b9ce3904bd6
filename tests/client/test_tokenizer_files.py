"""Where the tokenizer comes from: a given file, the cache, the server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from rewardserve import ContractError, ModelNotFoundError, RewardClient, TokenizerMismatchError
from rewardserve._tokenizer import load_tokenizer
from rewardserve_server import TritonProcess


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def no_fetch() -> bytes:
    raise AssertionError("the server was asked")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_given_file_or_its_directory_is_used(tokenizer_file: Path, cache: Path) -> None:
    for path in (tokenizer_file, str(tokenizer_file), tokenizer_file.parent):
        tokenizer = load_tokenizer(sha256_of(tokenizer_file), path, no_fetch)
        assert tokenizer.encode("good").ids
    assert not cache.exists()


def test_a_given_file_must_be_the_exported_one(tokenizer_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.json"
    other.write_bytes(tokenizer_file.read_bytes() + b"\n")
    with pytest.raises(TokenizerMismatchError) as raised:
        load_tokenizer(sha256_of(tokenizer_file), other, no_fetch)
    for part in (str(other), sha256_of(other), sha256_of(tokenizer_file), "Remedy"):
        assert part in str(raised.value)


@pytest.mark.parametrize("name", ["", "missing", "missing/tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenizerMismatchError, match=r"no tokenizer to read at .*No such file.*Remedy"):
        load_tokenizer("0" * 64, tmp_path / name, no_fetch)


def test_the_constructor_checks_a_given_tokenizer(
    server: TritonProcess, tokenizer_file: Path, checkpoint: Path
) -> None:
    with RewardClient(server.grpc_url, tokenizer=checkpoint) as client:
        assert client.score(["good"]).shape == (1,)
    other = checkpoint / "config.json"
    with pytest.raises(TokenizerMismatchError, match=r"config\.json has sha256"):
        RewardClient(server.grpc_url, tokenizer=other)


def test_the_tokenizer_is_fetched_once_and_cached_by_its_sha256(server: TritonProcess, cache: Path) -> None:
    with RewardClient(server.grpc_url) as client:
        sha256 = client.contract.tokenization.tokenizer_sha256
        assert not cache.exists(), "constructing a client, or scoring tokens, needs no tokenizer"
        first = client.score(["a good answer"])
    (cached,) = (cache / "rewardserve" / "tokenizers").iterdir()
    assert cached.name == f"{sha256}.json"
    assert sha256_of(cached) == sha256
    assert load_tokenizer(sha256, None, no_fetch).encode("good").ids
    with RewardClient(server.grpc_url) as client:
        assert client.score(["a good answer"]) == first


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff"])
def test_a_damaged_cache_entry_is_fetched_again(tokenizer_file: Path, cache: Path, damaged: bytes) -> None:
    sha256 = sha256_of(tokenizer_file)
    entry = cache / "rewardserve" / "tokenizers" / f"{sha256}.json"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(damaged)
    assert load_tokenizer(sha256, None, tokenizer_file.read_bytes).encode("good").ids
    assert entry.read_bytes() == tokenizer_file.read_bytes()


def test_a_cache_that_cant_be_used_is_no_error(tokenizer_file: Path, cache: Path) -> None:
    cache.write_text("a file where the directory should be")
    assert load_tokenizer(sha256_of(tokenizer_file), None, tokenizer_file.read_bytes).encode("good").ids


def test_an_entry_that_cant_be_replaced_leaves_nothing_behind(tokenizer_file: Path, cache: Path) -> None:
    sha256 = sha256_of(tokenizer_file)
    entry = cache / "rewardserve" / "tokenizers" / f"{sha256}.json"
    entry.mkdir(parents=True)
    assert load_tokenizer(sha256, None, tokenizer_file.read_bytes).encode("good").ids
    assert list(entry.parent.iterdir()) == [entry]


def test_a_server_that_hands_out_another_file_is_refused(tokenizer_file: Path, cache: Path) -> None:
    with pytest.raises(TokenizerMismatchError, match=r"the server handed out .*Remedy: export the model again"):
        load_tokenizer("0" * 64, None, tokenizer_file.read_bytes)
    assert not cache.exists()


def test_a_file_that_the_library_cant_read_is_a_contract_error(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text('{"version": "99"}')
    with pytest.raises(ContractError, match=r"tokenizers \d+\..*can't read.*Remedy: install"):
        load_tokenizer(sha256_of(file), file, no_fetch)


def test_an_unknown_sha256_is_an_error_of_the_server(client: RewardClient) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no tokenizer with sha256 '0000"):
        client._session._connection.tokenizer("reward_tokenizer", "0" * 64, 30)


def test_truncation_and_padding_in_the_file_are_ignored(tokenizer_file: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    changed = tmp_path / "tokenizer.json"
    tokenizer.save(str(changed))
    loaded = load_tokenizer(sha256_of(changed), changed, no_fetch)
    assert loaded.encode("bad " * 9).ids == Tokenizer.from_file(str(tokenizer_file)).encode("bad " * 9).ids
