"""How the work of one call is cut into requests, so that all workers are busy and finish together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from heapq import heapify, heapreplace

from rewardserve._prefixes import Family

__all__ = ["balanced", "balanced_rows"]

MIN_REQUEST_TOKENS = 512
"""Work isn't cut smaller: what a request costs beside its tokens, a fraction of a millisecond, is lost in so many."""

REQUESTS_PER_WORKER = 4
"""One is computed while the next is there already, and a worker that lags leaves some to the others."""

OWN_PER_PREFIX_TOKEN = 4
"""A family that fits a request is cut only where each part has so many tokens of its own for each that is repeated:
what the other workers gain is lost, by one in five at most, where they were busy with other calls."""


def balanced(
    families: Sequence[Family], lengths: Sequence[int], max_request_tokens: int, workers: int
) -> list[list[Family]]:
    """Puts families into requests of about equal size; none is cut unless it is too large.

    Args:
        families: Of all items.
        lengths: Tokens of each item.
        max_request_tokens: Tokens of one request.
        workers: Requests that the server computes at a time.

    Returns:
        The families of each request, the largest request first.
    """
    total = sum(_tokens(family, lengths) for family in families)
    share = max(_ceil(total, workers), MIN_REQUEST_TOKENS)
    parts = [part for family in families for part in _split(family, lengths, max_request_tokens, share)]
    sizes = [_tokens(part, lengths) for part in parts]
    count = _requests(sum(sizes), max_request_tokens, workers)
    requests = _spread(sizes, count, max_request_tokens, step=workers)
    requests.sort(key=lambda places: sum(sizes[place] for place in places), reverse=True)
    return [[parts[place] for place in places] for places in requests]


def balanced_rows(lengths: Sequence[int], max_request_tokens: int, workers: int) -> list[list[int]]:
    """The items of each request where a request's sequences are padded to the longest: alike go together.

    Args:
        lengths: Tokens of each item, at most `max_request_tokens`.
        max_request_tokens: Tokens of one request, its padding included.
        workers: Requests that the server computes at a time.
    """
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    needed = len(_rows(longest_first, lengths, max_request_tokens))
    count = max(needed, _requests(sum(lengths), max_request_tokens, workers))
    # The smallest capacity for so many requests: they are of about equal size then.
    capacities = range(max(lengths, default=1), max_request_tokens)
    enough = bisect_left(capacities, True, key=lambda tokens: len(_rows(longest_first, lengths, tokens)) <= count)
    return _rows(longest_first, lengths, capacities.start + enough)


def _rows(longest_first: Sequence[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    requests: list[list[int]] = []
    room = 0
    for item in longest_first:
        if not room:
            requests.append([])
            room = capacity // lengths[item]
        requests[-1].append(item)
        room -= 1
    return requests


def _tokens(family: Family, lengths: Sequence[int]) -> int:
    return family.prefix + sum(_own_tokens(family, lengths))


def _own_tokens(family: Family, lengths: Sequence[int]) -> list[int]:
    return [lengths[items[0]] - family.prefix for items in family.members]


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _split(family: Family, lengths: Sequence[int], max_request_tokens: int, share: int) -> list[Family]:
    """The family, or parts of it of about equal size, each with its prefix, if it is too large for one request.

    Args:
        family: Any.
        lengths: Tokens of each item.
        max_request_tokens: No part is larger.
        share: No part should be much larger.
    """
    if len(family.members) == 1:
        return [family]
    own, room = _own_tokens(family, lengths), max_request_tokens - family.prefix
    tokens = family.prefix + sum(own)
    wanted = min(_ceil(tokens, share), tokens // MIN_REQUEST_TOKENS, sum(own) // (OWN_PER_PREFIX_TOKEN * family.prefix))
    count = max(_ceil(sum(own), room), wanted)
    if count == 1:
        return [family]
    parts = []
    for places in _spread(own, count, room, step=1):
        members = [family.members[place] for place in places]
        parts.append(Family(prefix=family.prefix if len(members) > 1 else 0, members=members))
    return parts


def _requests(tokens: int, max_request_tokens: int, workers: int) -> int:
    """How many requests to cut so many tokens into: a multiple of the workers, where there is enough for all."""
    needed = _ceil(tokens, max_request_tokens)
    wanted = min(tokens // MIN_REQUEST_TOKENS, REQUESTS_PER_WORKER * workers)
    if max(needed, wanted) < workers:
        return max(needed, wanted, 1)
    return workers * max(_ceil(needed, workers), wanted // workers)


def _spread(sizes: Sequence[int], count: int, capacity: int, *, step: int) -> list[list[int]]:
    """Puts things into bins of about equal size: the largest first, each where there is least (LPT, Graham 1969).

    Args:
        sizes: Of the things, at most `capacity` each.
        count: Bins; more, by steps, where things don't fit.
        capacity: Of a bin.
        step: See count.

    Returns:
        The things in each bin that holds any.
    """
    largest_first = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
    while True:
        bins: list[list[int]] = [[] for _ in range(count)]
        loads = [(0, number) for number in range(count)]
        heapify(loads)
        for place in largest_first:
            load, number = loads[0]
            if load + sizes[place] > capacity:  # then it fits nowhere
                break
            bins[number].append(place)
            heapreplace(loads, (load + sizes[place], number))
        else:
            return [places for places in bins if places]
        count += max(step, count // 16)
