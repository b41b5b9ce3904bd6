"""Requests that hypothesis makes: malformed ones, and well-formed ones with odd parameters."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tritonclient.grpc.service_pb2 import ModelInferRequest

__all__ = ["Limits", "good_request", "malformed_requests", "odd_requests"]

Segment = tuple[int, int]

_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(-2, 9)
_DATATYPES = ("BOOL", "UINT8", "UINT32", "INT8", "INT16", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16", "", "int32")
_GOOD_IDS = (5, 6, 7, 8, 9)
_GOOD_SEGMENTS = ((3, 0), (2, 1))
_LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of the served model.

    Attributes:
        vocab_size: Ids are 0 to vocab_size - 1.
        max_length: Tokens of a sequence.
        max_request_tokens: Tokens of a request.
    """

    vocab_size: int
    max_length: int
    max_request_tokens: int


def good_request(model: str) -> ModelInferRequest:
    """A prompt with a response: two rewards."""
    return _request(model, _GOOD_IDS, _GOOD_SEGMENTS)


def malformed_requests(model: str, limits: Limits) -> SearchStrategy[ModelInferRequest]:
    """Requests that no server may answer with rewards, neither `model` nor the text model beside it."""
    return st.one_of(
        _bad_packing(model, limits),
        _changed(model, st.one_of(_bad_datatypes(), _bad_shapes(), _bad_contents(), _bad_inputs(), _bad_outputs())),
        _bad_names(model),
        _bad_texts(f"{model}_text"),
    )


def odd_requests(model: str) -> SearchStrategy[ModelInferRequest]:
    """`good_request` with parameters that nobody expects: answered with its rewards, or with an error."""

    def built(parameters: dict[str, Any], request_id: str) -> ModelInferRequest:
        request = good_request(model)
        request.id = request_id
        for name, value in parameters.items():
            kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
            setattr(request.parameters[name], kind, value)
        return request

    names = st.sampled_from(["priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "headers"])
    values = st.one_of(_INT64, st.booleans(), st.text(max_size=_LONGEST_NAME), st.floats())
    parameters = st.dictionaries(names | st.text(max_size=_LONGEST_NAME), values, min_size=1, max_size=3)
    return st.builds(built, parameters, st.text(max_size=_LONGEST_NAME))


def _bad_packing(model: str, limits: Limits) -> SearchStrategy[ModelInferRequest]:
    """The right tensors; what is in them isn't a packed request."""
    ids = st.one_of(
        st.lists(st.integers(0, limits.vocab_size - 1), max_size=12),
        st.lists(st.integers(-2, limits.vocab_size + 1) | _INT32, max_size=12),
        st.integers(0, 2 * limits.max_request_tokens).map(lambda count: [1] * count),
    )
    number = _SMALL | st.sampled_from((limits.max_length, limits.max_length + 1, limits.max_request_tokens)) | _INT32
    tables = st.lists(st.tuples(number, number), max_size=6)
    packed = st.tuples(ids, tables) | ids.map(lambda tokens: (tokens, [(len(tokens), 0)]))
    return packed.filter(lambda pair: not _well_formed(pair[0], pair[1], limits)).map(
        lambda pair: _request(model, pair[0], pair[1])
    )


def _well_formed(ids: Sequence[int], segments: Sequence[Segment], limits: Limits) -> bool:
    """By the wire contract; not by the code that the server runs."""
    starts = {place for place, (_, parent) in enumerate(segments) if parent == 0}
    totals = [
        length + (segments[place - parent][0] if parent and place - parent in starts else 0)
        for place, (length, parent) in enumerate(segments)
    ]
    return (
        0 < len(ids) <= limits.max_request_tokens
        and all(0 <= each < limits.vocab_size for each in ids)
        and all(length > 0 for length, _ in segments)
        and sum(length for length, _ in segments) == len(ids)
        and all(parent >= 0 and place - parent in starts for place, (_, parent) in enumerate(segments))
        and max(totals) <= limits.max_length
    )


Change = Callable[[ModelInferRequest], None]


def _changed(model: str, changes: SearchStrategy[Change]) -> SearchStrategy[ModelInferRequest]:
    def built(change: Change) -> ModelInferRequest:
        request = good_request(model)
        change(request)
        return request

    return st.builds(built, changes)


def _bad_datatypes() -> SearchStrategy[Change]:
    def built(place: int, name: str) -> Change:
        return lambda request: setattr(request.inputs[place], "datatype", name)

    return st.builds(built, st.integers(0, 1), st.sampled_from(_DATATYPES) | _text_but("INT32"))


def _bad_shapes() -> SearchStrategy[Change]:
    def built(place: int, shape: list[int]) -> Change:
        def change(request: ModelInferRequest) -> None:
            right = list(request.inputs[place].shape)
            request.inputs[place].shape[:] = shape if shape != right else [*right, 1]

        return change

    return st.builds(built, st.integers(0, 1), st.lists(_SMALL | _INT64, max_size=5))


def _bad_contents() -> SearchStrategy[Change]:
    """Cut, prolonged, left out, or given twice."""

    def raw(place: int, content: bytes) -> Change:
        def change(request: ModelInferRequest) -> None:
            if len(content) != len(request.raw_input_contents[place]):
                request.raw_input_contents[place] = content
            else:
                request.raw_input_contents[place] = content[:-1]

        return change

    def dropped(count: int) -> Change:
        return lambda request: request.raw_input_contents.__delitem__(slice(count, None))

    def twice(numbers: list[int]) -> Change:
        return lambda request: request.inputs[0].contents.int_contents.extend(numbers)

    return st.one_of(
        st.builds(raw, st.integers(0, 1), st.binary(max_size=64)),
        st.builds(dropped, st.integers(0, 1)),
        st.builds(twice, st.lists(_INT32, min_size=1, max_size=6)),
    )


def _bad_inputs() -> SearchStrategy[Change]:
    """Missing, renamed, or one too many."""

    def renamed(place: int, name: str) -> Change:
        return lambda request: setattr(request.inputs[place], "name", name)

    def removed(place: int) -> Change:
        def change(request: ModelInferRequest) -> None:
            del request.inputs[place]
            del request.raw_input_contents[place]

        return change

    def added(name: str, content: bytes) -> Change:
        def change(request: ModelInferRequest) -> None:
            request.inputs.add(name=name, datatype="UINT8", shape=[1, len(content)])
            request.raw_input_contents.append(content)

        return change

    def in_shared_memory(place: int, region: str, size: int) -> Change:
        def change(request: ModelInferRequest) -> None:
            request.inputs[place].parameters["shared_memory_region"].string_param = region
            request.inputs[place].parameters["shared_memory_byte_size"].int64_param = size

        return change

    place = st.integers(0, 1)
    return st.one_of(
        st.builds(renamed, place, _text_but("input_ids", "segments")),
        st.builds(removed, place),
        st.builds(added, _text_but("input_ids", "segments"), st.binary(max_size=8)),
        st.builds(in_shared_memory, place, st.text(max_size=_LONGEST_NAME), _INT64),
    )


def _bad_outputs() -> SearchStrategy[Change]:
    def built(name: str) -> Change:
        return lambda request: request.outputs.add(name=name)

    return st.builds(built, _text_but("rewards", "fingerprints"))


def _bad_names(model: str) -> SearchStrategy[ModelInferRequest]:
    def built(name: str, version: str) -> ModelInferRequest:
        request = good_request(name)
        request.model_version = version
        return request

    names = _text_but(*(f"{model}{suffix}" for suffix in ("", "_text", "_tokenizer"))) | st.just("../reward")
    # Triton takes "2x" for 2.
    versions = _text_but("").filter(lambda version: re.match(r"\s*\+?[0-9]", version) is None)
    numbers = st.integers(1000, 2**40).map(str) | st.integers(max_value=0).map(str)
    return st.builds(built, names, st.text(max_size=_LONGEST_NAME)) | st.builds(
        built, st.just(model), versions | numbers
    )


def _bad_texts(model: str) -> SearchStrategy[ModelInferRequest]:
    """Elements whose lengths lie, or that aren't UTF-8."""

    def built(shape: list[int], content: bytes) -> ModelInferRequest:
        request = ModelInferRequest(model_name=model)
        request.inputs.add(name="text", datatype="BYTES", shape=shape)
        request.raw_input_contents.append(content)
        return request

    def lying(length: int, content: bytes) -> ModelInferRequest:
        return built([1], struct.pack("<I", length if length != len(content) else length + 1) + content)

    def not_text(content: bytes) -> ModelInferRequest:
        return built([1], struct.pack("<I", len(content) + 1) + content + b"\xff")

    return st.one_of(
        st.builds(lying, st.integers(0, 2**32 - 2), st.binary(max_size=32)),
        st.builds(not_text, st.binary(max_size=32)),
        st.builds(built, st.lists(_INT64, min_size=1, max_size=3).filter(lambda shape: shape != [0]), st.just(b"")),
    )


def _text_but(*names: str) -> SearchStrategy[str]:
    return st.text(max_size=_LONGEST_NAME).filter(lambda name: name not in names)


def _request(model: str, ids: Sequence[int], segments: Sequence[Segment]) -> ModelInferRequest:
    request = ModelInferRequest(model_name=model)
    for name, array in (
        ("input_ids", np.array([ids], np.int32)),
        ("segments", np.array(segments, np.int32).reshape(1, -1, 2)),
    ):
        request.inputs.add(name=name, datatype="INT32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request
