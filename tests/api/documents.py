"""The two documents, and what answers are held against them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from jsonschema import Draft202012Validator, FormatChecker

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventResponse

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "api"
OPENAPI = FOLDER / "openapi.yaml"
ASYNCAPI = FOLDER / "asyncapi.yaml"

Document = dict[str, Any]


def load(path: Path) -> Document:
    """One of them."""
    document: Document = yaml.safe_load(path.read_text("utf-8"))
    return document


def resolve(document: Document, node: Any) -> Any:
    """What a node is, or refers to."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = document
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def assert_matches(document: Document, schema: Any, value: object) -> None:
    """:raises jsonschema.ValidationError: the value is not what a schema of the document says."""
    whole = {**resolve(document, schema), "components": document["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def fields(body: bytes) -> Document:
    """A protobuf answer as it would be in JSON. :raises AssertionError: it has fields that nobody knows."""
    answer, known = SendEventResponse.FromString(body), SendEventResponse.FromString(body)
    known.DiscardUnknownFields()
    assert known.SerializeToString(deterministic=True) == answer.SerializeToString(deterministic=True)
    found: Document = MessageToDict(answer, preserving_proto_field_name=True, use_integers_for_enums=True)
    return {**found, "sent_time": int(found["sent_time"])}


def comparable(answer: Document) -> Document:
    """An answer without what differs each time: when it was given, and when to come back."""
    data = {**answer.get("data", {})}
    if "retry_after_ms" in data:
        assert re.fullmatch("[1-9][0-9]*", data["retry_after_ms"])
        data["retry_after_ms"] = "0"
    return {**answer, "sent_time": 0, "data": data}
