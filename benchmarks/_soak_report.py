"""What a soak found, and whether it is good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks._faults_callers import TOLERANCE
from benchmarks._soak_faults import SWITCH, Fault
from benchmarks._soak_malformed import MIXED_UP
from benchmarks._soak_memory import JUDGED_SECONDS, LARGEST_GROWTH
from benchmarks._soak_tally import Connection, Problem, Report
from benchmarks._summary import summary

__all__ = ["soak_failures", "soak_tables", "summed_up"]

_RAW = ("connecting", "text model", "malformed")
"""Who tries nothing again: in a fault it sees errors."""
_AFTERMATH = 10.0
"""Seconds behind a fault in which such an error may come: a server may abort so long after a pause."""
_MESSAGES = 20


def summed_up(
    seconds: float,
    callers: Report,
    strangers: Report,
    faults: Sequence[Fault],
    deaths: Sequence[str],
    aborted: int,
    memory: Mapping[str, Any],
) -> dict[str, Any]:
    """The document."""
    errors = [*callers.problems, *strangers.problems]
    unexpected = [each for each in errors if not _expected(each, faults)]
    outcome = {what: callers.total(what) + strangers.total(what) for what in ("lost", "wrong", "duplicated")}
    result: dict[str, Any] = {
        "what": (
            "two replicas of a small Llama in two versions, one of which is killed, restarted and paused; a gateway; "
            "every reward compared with what an undisturbed server gave for its version: wrong if it differs by more "
            f"than {TOLERANCE}, lost if no answer came within 120 s. Memory: resident, of the replica that isn't "
            "killed, its Python backend's processes, the gateway, and the process of all clients; "
            f"growth is judged against {LARGEST_GROWTH / 1e6:g} MB an hour (less two standard errors) over "
            f"{JUDGED_SECONDS / 60:g} minutes or more behind the warm-up"
        ),
        "seconds": seconds,
        "calls": callers.total("calls"),
        "texts": callers.total("texts"),
        **outcome,
        "largest_difference": callers.largest_difference,
        "longest_stall_seconds": callers.longest_stall,
        "callers": _by_caller(callers.counts),
        "malformed": {what: count for (_, what), count in sorted(strangers.counts.items())},
        "faults": _faults(faults),
        "servers_that_aborted_after_a_pause": aborted,
        "servers_that_ended_by_themselves": list(deaths),
        "version_switches": _switches(faults, callers.connections),
        "connections_that_named_no_version": len(callers.connections),
        "of_which_got_another_than_the_default": _astray(faults, callers.connections),
        "expected_errors": _by_error([each for each in errors if _expected(each, faults)]),
        "unexpected_errors": _by_error(unexpected),
        "messages_of_unexpected_errors": [
            f"{each.caller}, after {each.ended - each.began:.1f} s: {each.message}" for each in unexpected[:_MESSAGES]
        ],
        "memory": memory,
    }
    return {**result, "failures": _failures(result)}


def _expected(problem: Problem, faults: Sequence[Fault]) -> bool:
    """Whether it is an error of a caller that tries nothing again, in a fault that explains it."""
    during = [each for each in faults if each.began <= problem.ended and problem.began <= each.ended + _AFTERMATH]
    if problem.error == MIXED_UP:
        during = [each for each in during if "SIGSTOP" in each.kind]
    return problem.caller in _RAW and bool(during)


def _failures(result: Mapping[str, Any]) -> list[str]:
    found = [f"{result[what]} {what}" for what in ("lost", "wrong", "duplicated") if result[what]]
    found += [f"a server ended by itself, {death}" for death in result["servers_that_ended_by_themselves"]]
    if result["unexpected_errors"]:
        found.append(f"unexpected errors: {result['unexpected_errors']}")
    if astray := result["of_which_got_another_than_the_default"]:
        found.append(f"{astray} connections got another version than the default")
    for name, figures in result["memory"].items():
        if figures.get("judged") and figures["grows"]:
            found.append(f"{name} grows by {figures['bytes_per_hour'] / 1e6:.0f} MB an hour")
    return found


def _by_caller(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (caller, what), count in sorted(counts.items()):
        found.setdefault(caller, {})[what] = count
    return found


def _faults(faults: Sequence[Fault]) -> dict[str, Any]:
    kinds = sorted({fault.kind for fault in faults})
    return {kind: summary([each.ended - each.began for each in faults if each.kind == kind]) for kind in kinds}


def _switches(faults: Sequence[Fault], connections: Sequence[Connection]) -> list[dict[str, Any]]:
    """Seconds of each from its begin; `first` is until a new client got the new version."""
    found = []
    for fault in faults:
        if fault.kind == SWITCH:
            first = [each.ended for each in connections if each.version == fault.version and each.began > fault.began]
            found.append(
                {
                    "version": fault.version,
                    "seconds": fault.ended - fault.began,
                    "first_new_client_after_seconds": min(first) - fault.began if first else None,
                }
            )
    return found


def _astray(faults: Sequence[Fault], connections: Sequence[Connection]) -> int:
    """Clients made between two switches that didn't get the default."""
    switches = [fault for fault in faults if fault.kind == SWITCH]
    astray = 0
    for number, switch in enumerate(switches):
        until = switches[number + 1].began if number + 1 < len(switches) else float("inf")
        astray += sum(
            each.version != switch.version for each in connections if switch.ended <= each.began and each.ended <= until
        )
    return astray


def _by_error(problems: Sequence[Problem]) -> dict[str, int]:
    return dict(Counter(f"{each.caller}: {each.error}" for each in problems).most_common())


def soak_failures(result: Mapping[str, Any]) -> list[str]:
    """What makes the soak fail."""
    return list(result["failures"])


def soak_tables(result: Mapping[str, Any]) -> list[Table]:
    """Callers, faults and errors, memory."""
    callers = Table("caller", "calls", "texts", "lost", "wrong", "duplicated", title="soak", title_justify="left")
    for caller, counts in [*result["callers"].items(), ("all", result)]:
        columns = ("calls", "texts", "lost", "wrong", "duplicated")
        callers.add_row(caller, *(f"{counts.get(column, 0):,}" for column in columns))
    events = Table("what", "count", "seconds")
    for kind, figures in result["faults"].items():
        events.add_row(f"fault: {kind}", str(figures["runs"]), f"{figures['median']:.1f} (to {figures['max']:.1f})")
    for what, count in result["malformed"].items():
        events.add_row(f"malformed: {what}", f"{count:,}", "")
    for which in ("expected_errors", "unexpected_errors"):
        for error, count in result[which].items():
            events.add_row(f"{which.replace('_', ' ')}: {error}", f"{count:,}", "")
    events.add_row("aborted or hung after SIGSTOP", str(result["servers_that_aborted_after_a_pause"]), "")
    events.add_row("longest stall", "", f"{result['longest_stall_seconds']:.1f}")
    memory = Table("resident memory", "MB at first", "at last", "MB an hour")
    for name, figures in result["memory"].items():
        growth = "-"
        if "bytes_per_hour" in figures:
            growth = f"{figures['bytes_per_hour'] / 1e6:.1f} ± {figures['standard_error'] / 1e6:.1f}"
        memory.add_row(name, f"{figures['first_bytes'] / 1e6:.0f}", f"{figures['last_bytes'] / 1e6:.0f}", growth)
    return [callers, events, memory]
