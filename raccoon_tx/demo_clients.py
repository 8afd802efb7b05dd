"""The clients of the demo: ordinary ones, that know of the server only its address."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.request import Request, urlopen

import grpc
from autobahn.twisted.websocket import create_client_agent
from confluent_kafka import Consumer, KafkaException, TopicPartition
from google.protobuf.json_format import MessageToDict
from twisted.internet.defer import Deferred

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2_grpc import EventServiceStub

#: Seconds that one request may take.
TIMEOUT = 5

#: An event of the demo: its type, the topic it has to arrive in, and its bytes.
Sent = tuple[str, str, bytes]


def events(pattern: str) -> list[Sent]:
    """One event for each transport."""
    made = []
    for kind, content in (
        ("page_view", {"page": "/pricing", "by": "REST"}),
        ("click", {"button": "sign up", "by": "WebSocket"}),
        ("purchase", {"amount": 12.5, "by": "gRPC"}),
    ):
        made.append((kind, pattern.replace("%s", kind, 1), json.dumps(content).encode()))
    return made


def _as_json(event: Sent, guid: str) -> bytes:
    kind, _, value = event
    batch = {"req_guid": guid, "events": [{"type": kind, "event_bytes": base64.b64encode(value).decode()}]}
    return json.dumps(batch).encode()


def by_rest(address: str, header: str, event: Sent) -> str:
    """POST an event as JSON. Blocks. :return: the answer's body."""
    headers = {"Content-Type": "application/json", header: "demo-rest"}
    request = Request(f"http://{address}/api/v1/events", _as_json(event, "demo-1"), headers)
    with urlopen(request, timeout=TIMEOUT) as answer:
        return str(answer.read().decode())


async def by_websocket(reactor: Any, address: str, header: str, event: Sent) -> str:
    """Send an event as a text frame. :return: the answer's frame."""
    agent = create_client_agent(reactor)
    answered: Deferred[str] = Deferred()
    socket = await agent.open(f"ws://{address}/api/v1/events", {"headers": {header: "demo-websocket"}})
    socket.on("message", lambda payload, is_binary: answered.callback(payload.decode()))
    socket.sendMessage(_as_json(event, "demo-2"), isBinary=False)
    answered.addTimeout(TIMEOUT, reactor)
    try:
        return await answered
    finally:
        socket.sendClose(1000)


def by_grpc(address: str, header: str, event: Sent) -> str:
    """Call SendEvent. Blocks. :return: the response, as JSON."""
    kind, _, value = event
    request = SendEventRequest(req_guid="demo-3")
    request.events.add(type=kind, event_bytes=value)
    with grpc.insecure_channel(address) as channel:
        stub = EventServiceStub(channel)
        response = stub.SendEvent(request, metadata=[(header.lower(), "demo-grpc")], timeout=TIMEOUT)
    fields = MessageToDict(response, preserving_proto_field_name=True, use_integers_for_enums=True)
    fields["sent_time"] = int(fields["sent_time"])
    return json.dumps(fields, separators=(",", ":"))


class _Silent:
    """What librdkafka has to say beside its errors is of no use here."""

    def log(self, *_words: Any) -> None: ...


def _consumer(client: Mapping[str, str]) -> Consumer:
    own = {"group.id": "raccoon-demo", "enable.auto.commit": "false", "logger": _Silent()}
    return Consumer({**client, **own})


def ends(client: Mapping[str, str], topics: list[str]) -> dict[str, dict[int, int]]:
    """Where each partition of the topics ends now. Blocks. Naming a topic may bring it into being.

    :param client: properties of the Kafka client.
    """
    found: dict[str, dict[int, int]] = {}
    consumer = _consumer(client)
    try:
        for topic in dict.fromkeys(topics):
            partitions = consumer.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions
            found[topic] = {}
            for number in partitions:
                try:
                    _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT)
                except KafkaException:
                    end = 0  # the topic is being made
                found[topic][number] = end
    finally:
        consumer.close()
    return found


def read(
    client: Mapping[str, str], start: dict[str, dict[int, int]], count: int, patience: float
) -> list[tuple[str, bytes]]:
    """Read ``count`` records from ``start`` on, or what has come after ``patience`` seconds. Blocks.

    :return: topic and value of each, by topic.
    """
    consumer = _consumer(client)
    try:
        for topic in start:
            # A topic that did not exist when it was asked for has its partitions by now.
            for number in consumer.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions:
                start[topic].setdefault(number, 0)
        consumer.assign([TopicPartition(t, number, offset) for t, ps in start.items() for number, offset in ps.items()])
        limit = monotonic() + patience
        records: list[tuple[str, bytes]] = []
        while len(records) < count and monotonic() < limit:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                records.append((str(message.topic()), message.value() or b""))
        return sorted(records)
    finally:
        consumer.close()
