"""Calls of the model that scores texts, as somebody without our client would make them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse


def post_texts(http_url: str, texts: Sequence[Any], model: str = "reward_text") -> tuple[int, dict[str, Any]]:
    """The status and the body of what `curl` would get."""
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}]}
    request = urllib.request.Request(f"{http_url}/v2/models/{model}/infer", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def text_request(texts: Sequence[str | bytes], model: str = "reward_text", version: str = "") -> ModelInferRequest:
    """Each element of a BYTES tensor is its length in four bytes, and itself."""
    request = ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    content = [text.encode() if isinstance(text, str) else text for text in texts]
    request.raw_input_contents.append(b"".join(len(each).to_bytes(4, "little") + each for each in content))
    return request


def rewards_in(response: ModelInferResponse) -> npt.NDArray[np.float32]:
    """In the shape that the server gives them."""
    (output,), (content,) = response.outputs, response.raw_output_contents
    assert (output.name, output.datatype) == ("rewards", "FP32")
    return np.frombuffer(content, dtype=np.float32).reshape(output.shape)
