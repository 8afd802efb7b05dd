"""What schemathesis cannot know of itself: how protobuf bodies are made, and what is in those that come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemathesis
from documents import OPENAPI, assert_matches, fields, load
from hypothesis import strategies as st

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import Event, SendEventRequest

_OPENAPI = load(OPENAPI)

_TYPES = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
_EVENTS = st.builds(Event, type=_TYPES, event_bytes=st.binary(max_size=100))
_BATCHES = st.builds(SendEventRequest, req_guid=st.text(max_size=40), events=st.lists(_EVENTS, max_size=5))

schemathesis.openapi.media_type("application/proto", _BATCHES.map(lambda batch: batch.SerializeToString()))


@schemathesis.deserializer("application/proto")
def readable(_context: Any, response: Any) -> str:
    """Of a protobuf answer the document says that it is a string of bytes; what is in them is looked at here."""
    assert_matches(_OPENAPI, {"$ref": "#/components/schemas/SendEventResponse"}, fields(response.content))
    with Path("protobuf-answers").open("a") as noted:  # for the test, so that it knows that there were any
        noted.write("1\n")
    return str(response.content, "latin-1")
