"""Promoting, rolling back and retiring versions of a model, in a repository and on the servers that read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rewardserve._contract import RewardContract
from rewardserve._errors import ReleaseError, RewardServeError
from rewardserve._manifest import Probes

from rewardserve_export.repository._check import version_problems
from rewardserve_export.repository._publish import ModelDirectory, locked, staging
from rewardserve_export.repository._versions import Versions

__all__ = ["Promotion", "Pruning", "Server", "promote", "prune", "rollback"]


class _Loaded(Protocol):
    @property
    def version(self) -> str: ...
    @property
    def last_request(self) -> float | None: ...


class Server(Protocol):
    """A running server that reads the repository: `rewardserve_server.ServerControl`."""

    url: str

    def load(self, model: str) -> None:
        """Has it read a model again."""

    def loaded(self, model: str) -> Sequence[_Loaded]:
        """What it has loaded of a model."""

    def verify(self, model: str, version: str, contract: RewardContract, probes: Probes) -> float:
        """Compares a version with its manifest."""

    def wait_until_unloaded(self, model: str, version: str) -> None:
        """Waits for a version's end."""


Report = Callable[[str], None]
"""Told about each step."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a promotion did.

    Attributes:
        version: The default now.
        previous: The default before.
        served: All versions that are served.
    """

    version: str
    previous: str | None
    served: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What was retired.

    Attributes:
        stopped: Versions that aren't served any more.
        removed: Versions that aren't in the repository any more.
    """

    stopped: tuple[str, ...]
    removed: tuple[str, ...]


def promote(
    model: ModelDirectory,
    version: str | None = None,
    servers: Sequence[Server] = (),
    report: Report = lambda _: None,
) -> Promotion:
    """Makes a version the one that clients get which name none.

    Its files are checked; every server loads it beside what it serves, and must score the manifest's sequences right;
    only then does any server make it the default. What was served before still is: clients that use it don't notice.

    Args:
        model: In its repository.
        version: None takes the highest.
        servers: Running servers that read the repository.
        report: Told about each step.

    Raises:
        ReleaseError: The version isn't there, isn't intact, or scores something else: what is served is as it was. Or a
            server failed in the end: the message says which.
        ServerError: A server can't be asked: what is served is as it was.
    """
    with locked(model.repository):
        versions = Versions(model)
        version = version or versions.numbers[-1]
        versions.require(version)
        report(f"checking the files of version {version}")
        if problems := list(version_problems(versions, version)):
            raise ReleaseError(
                f"version {version} isn't what was exported: {'; '.join(problems)}. Remedy: copy it again, or export it"
            )
        loaded = {each.version for server in servers for each in server.loaded(model.name)}
        served = {version, *versions.served, *loaded} & set(versions.numbers)
        previous = versions.previous if version == versions.default else versions.default
        if servers and not versions.promoted and loaded:  # a version exported since the server's start isn't live yet
            previous = max(loaded - {version}, key=int, default=versions.previous)
        with _restored_on_failure(versions, servers):
            if servers and not versions.promoted and previous is not None:
                # Until one was promoted, the highest that is loaded is the default: the new one would be at once.
                versions.set_default(previous, None)
                for server in servers:
                    server.load(model.companion.name)
            versions.serve(served)
            for server in servers:
                report(f"loading version {version} on {server.url}")
                server.load(model.name)
                gap = server.verify(model.name, version, versions.contracts[version], versions.manifest(version).probes)
                report(f"{server.url} scores as exported ({gap:.1e} apart at most)")
        versions.set_default(version, previous)
        versions.serve_texts()
        _switch(model, version, servers, report)
    return Promotion(version=version, previous=previous, served=tuple(sorted(served, key=int)))


def rollback(model: ModelDirectory, servers: Sequence[Server] = (), report: Report = lambda _: None) -> Promotion:
    """Promotes the version that was the default before.

    Raises:
        ReleaseError: There was none; or as for `promote`.
        ServerError: As for `promote`.
    """
    versions = Versions(model)
    if versions.previous is None:
        raise ReleaseError(f"no version was the default before {versions.default}. Remedy: promote --version N")
    return promote(model, versions.previous, servers, report)


def prune(
    model: ModelDirectory,
    servers: Sequence[Server] = (),
    *,
    keep: int = 2,
    idle: float = 600.0,
    report: Report = lambda _: None,
) -> Pruning:
    """Stops serving every version but the default, and removes old ones from the repository.

    Args:
        model: In its repository.
        servers: All running servers that read the repository.
        keep: So many versions stay in the repository: the default, the one before it, then the highest; those above the
            default always do.
        idle: Seconds for which a version must have had no request.
        report: Told about each step.

    Raises:
        ReleaseError: A version is in use, or none was ever promoted: nothing was changed.
        ServerError: A server can't be asked.
        ValueError: `keep` isn't positive.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}. Remedy: at least 1")
    with locked(model.repository):
        versions = Versions(model)
        if servers and not versions.promoted:
            raise ReleaseError(
                f"no version of {model.name} was ever promoted: servers may use another one than those that start now "
                "would. Remedy: promote one first"
            )
        stopped = set(versions.served)
        for server in servers:
            loaded = server.loaded(model.name)
            stopped |= {each.version for each in loaded}
            _require_idle(server, [each for each in loaded if each.version != versions.default], versions.changed, idle)
        stopped.discard(versions.default)
        if versions.promoted:
            with _restored_on_failure(versions, servers):
                versions.serve({versions.default})
                versions.serve_texts()
                for server in servers:
                    _unload(server, model, stopped, report)
        removed = _removable(versions, keep)
        with staging(model.repository) as trash:
            for version in removed:
                report(f"removing version {version}")
                _remove(versions, version, trash)
    return Pruning(stopped=tuple(sorted(stopped, key=int)), removed=tuple(removed))


def _switch(model: ModelDirectory, version: str, servers: Sequence[Server], report: Report) -> None:
    done: list[str] = []
    for server in servers:
        try:
            server.load(model.companion.name)
            server.load(model.text.name)
        except RewardServeError as error:
            raise ReleaseError(
                f"version {version} of {model.name} is the default in the repository and on "
                f"{', '.join(done) or 'no server'}, but not on {server.url}, which serves it as well: {error} "
                "Then promote it again"
            ) from error
        done.append(server.url)
        report(f"{server.url} serves version {version} by default")


def _unload(server: Server, model: ModelDirectory, stopped: Set[str], report: Report) -> None:
    for name in (model.text.name, model.name):
        report(f"unloading {', '.join(sorted(stopped, key=int)) or 'nothing'} of {name} on {server.url}")
        server.load(name)
        for version in stopped:
            server.wait_until_unloaded(name, version)


@contextmanager
def _restored_on_failure(versions: Versions, servers: Sequence[Server]) -> Iterator[None]:
    """Puts configurations back as they were, and has the servers read them again."""
    model = versions.model
    files = [path / "config.pbtxt" for path in (model.path, model.text, model.companion)]
    before = {path: path.read_bytes() for path in files}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        for server in servers:
            for path in files:
                try:
                    server.load(path.parent.name)
                except RewardServeError:  # what went wrong before is what the caller must hear of
                    continue
        raise


def _require_idle(server: Server, others: Sequence[_Loaded], changed: float, idle: float) -> None:
    for each in others:
        # Loading a model anew, as a promotion may, forgets its last request.
        quiet = time.time() - max(changed, each.last_request or 0.0)
        if quiet < idle:
            what = "had a request" if (each.last_request or 0.0) > changed else "was loaded or released"
            raise ReleaseError(
                f"version {each.version} on {server.url} {what} {quiet:.0f} s ago: clients may use it. "
                f"Remedy: end them, and try again after {idle:.0f} s; or --idle 0, and their next request fails"
            )


def _removable(versions: Versions, keep: int) -> list[str]:
    kept = {versions.default, versions.previous} if keep > 1 else {versions.default}
    older = [each for each in versions.numbers if each not in kept and int(each) < int(versions.default)]
    spare = max(0, keep - len(kept & set(versions.numbers)))
    return older[: max(0, len(older) - spare)]


def _remove(versions: Versions, version: str, trash: Path) -> None:
    """The model's version goes first: without it nothing asks for the rest."""
    model = versions.model
    for directory in (model.path / version, model.text / version):
        if directory.exists():
            directory.rename(trash / f"{directory.parent.name}-{version}")
    sha256 = versions.contracts.pop(version).tokenization.tokenizer_sha256
    if sha256 not in {contract.tokenization.tokenizer_sha256 for contract in versions.contracts.values()}:
        (model.companion / "1" / f"{sha256}.json").unlink(missing_ok=True)
