"""What is wrong with a manifest, by published schemas; each comes in a package, nothing is fetched."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import kubernetes_validate
import yaml
from pydantic import ValidationError

DEPLOY = Path(__file__).parents[2] / "deploy"

KEY = "the-key"
"""What takes the place of the admin key's variable."""

KUBERNETES = "1.34"
"""The first version in which everything used is stable: the `sleep` of a preStop came last."""

_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "ResourceQuantity": (str, int),
    "V1beta1MetricQuantity": (str, int),
    "object": (object,),
}


def with_key(arguments: list[str]) -> list[str]:
    """tritonserver's arguments of a manifest, with `KEY` for the variable of the admin key."""
    return [re.sub(r"\$\(ADMIN_KEY\)|\$\{REWARDSERVE_ADMIN_KEY:[^}]*\}", KEY, argument) for argument in arguments]


def manifest(path: str) -> Any:
    """One of the files of deploy/."""
    return yaml.safe_load((DEPLOY / path).read_text())


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with an object of Kubernetes, KEDA or KServe."""
    group = document["apiVersion"].partition("/")[0]
    if group == "serving.kserve.io":
        version = document["apiVersion"].partition("/")[2].capitalize()
        return list(_kserve(document, version + document["kind"], "$"))
    if group == "keda.sh":
        return _keda(document)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{error.json_path}: {error.message}"]
    return []


def compose_problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a compose file."""
    file = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    return _schema_problems(document, json.loads(file.read_text()), "$")


def _schema_problems(document: Any, schema: dict[str, Any], path: str) -> list[str]:
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{path}{error.json_path[1:]}: {error.message}" for error in errors]


def _keda(document: dict[str, Any]) -> list[str]:
    """By models that are made from KEDA's own definitions; they drop what they don't know."""
    from cloudcoil.models.keda import v1alpha1

    try:
        known = getattr(v1alpha1, document["kind"]).model_validate(document)
    except ValidationError as error:
        return [str(error)]
    kept = known.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return [] if kept == document else [f"unknown or converted fields: {kept} is left of {document}"]


def _kserve(value: Any, name: str, path: str) -> Iterator[str]:
    """By the types in KServe's Python package, made from its OpenAPI document, and Kubernetes' for the rest."""
    if inner := re.fullmatch(r"list\[(.+)\]", name):
        if not isinstance(value, list):
            yield f"{path}: no list"
            return
        for index, item in enumerate(value):
            yield from _kserve(item, inner[1], f"{path}[{index}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)", name):
        if not isinstance(value, dict):
            yield f"{path}: no mapping"
            return
        for key, item in value.items():
            yield from _kserve(item, inner[1], f"{path}.{key}")
    elif name in _SCALARS:
        if not isinstance(value, _SCALARS[name]) or (isinstance(value, bool) and name not in {"bool", "object"}):
            yield f"{path}: {value!r} is no {name}"
    elif model := _kserve_model(name):
        yield from _kserve_object(value, model, path)
    else:
        yield from _schema_problems(value, _kubernetes_schema(name), path)


def _kserve_object(value: Any, model: tuple[dict[str, str], set[str]], path: str) -> Iterator[str]:
    types, required = model
    if not isinstance(value, dict):
        yield f"{path}: no mapping"
        return
    yield from (f"{path}.{key}: missing" for key in sorted(required - value.keys()))
    for key, item in value.items():
        if key in types:
            yield from _kserve(item, types[key], f"{path}.{key}")
        else:
            yield f"{path}.{key}: unknown"


@cache
def _kserve_model(name: str) -> tuple[dict[str, str], set[str]] | None:
    """Type of each field, and those that must be there. Read, not imported: the package imports far more than this."""
    spec = importlib.util.find_spec("kserve")
    assert spec is not None and spec.submodule_search_locations, "kserve isn't installed"
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    file = Path(spec.submodule_search_locations[0], "models", f"{module}.py")
    if not file.is_file():
        return None
    text = file.read_text()
    (model,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in model.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    keys = tables["attribute_map"]
    required = {keys[attribute] for attribute in re.findall(r"for `(\w+)`, must not be `None`", text)}
    return {keys[attribute]: kind for attribute, kind in tables["openapi_types"].items()}, required


@cache
def _kubernetes_schema(name: str) -> dict[str, Any]:
    """Of a part, as Kubernetes' Python client names it: `V1Container`."""
    package = Path(kubernetes_validate.__file__).parent
    folder = package / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    group, kind = re.fullmatch(r"(?:K8sIoApi(Apps))?V1(.+)", name).groups(default="core")
    keys = (f"io.k8s.api.{group.lower()}.v1.{kind}", f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")
    (key,) = (key for key in keys if key in definitions)
    return {"$defs": definitions, "$ref": f"#/$defs/{key}"}
