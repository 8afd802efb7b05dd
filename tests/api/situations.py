"""One situation for each example of an answer to a POST: a real server is brought into it, and asked.

They are called as the examples are.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from confluent_kafka import KafkaError
from documents import OPENAPI, load

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx.codec import JSON
from tests.conformance.frames import read_response
from tests.integration.batches import Batch, Event
from tests.integration.clients import EVENTS, HOST, TIMEOUT, Response, post, websocket
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import Process, Topics, process

JSON_TYPE, PROTO_TYPE = "application/json", "application/proto"

#: Of the example of that name.
_EXAMPLES = load(OPENAPI)["paths"][EVENTS]["post"]["requestBody"]["content"][JSON_TYPE]["examples"]

#: Answers that are given at once, and a producer that is full with two events, where the next batch waits.
QUICK = {"publisher.kafka.flush.interval.ms": 1, "worker.buffer.flush.timeout.ms": 100}
TIGHT = {
    **QUICK,
    "publisher.kafka.client.queue.buffering.max.messages": 2,
    "worker.buffer.channel.size": 1,
    "server.enqueue.timeout.ms": 100,
    "publisher.publish.timeout.ms": 3000,
}

Situation = Callable[[str], Response]


def encoded(name: str, media_type: str) -> bytes:
    """The example of a request of this name."""
    return written(_EXAMPLES[name]["value"], media_type)


def written(value: Mapping[str, object], media_type: str) -> bytes:
    """A batch of the document. In protobuf there is one way to write it; what it means is what our JSON codec says,
    which has tests of its own."""
    body = json.dumps(value).encode()
    if media_type == JSON_TYPE:
        return body
    batch = JSON.decode(body)
    request = SendEventRequest(req_guid=batch.guid)
    for event in batch.events:
        request.events.add(type=event.type, event_bytes=event.event_bytes)
    return request.SerializeToString()


@contextmanager
def server(ack: int = 1, **settings: object) -> Iterator[Process]:
    """A server with these settings, ``__`` for ``.``, and its Kafka."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    with MockCluster() as cluster, process(Topics(cluster.bootstrap), ack, given) as running:
        yield running


def simple(name: str) -> Situation:
    """The request of the same name."""

    def ask(media_type: str) -> Response:
        with server() as running:
            return post(running, encoded(name, media_type), media_type)

    return ask


def duplicate(media_type: str) -> Response:
    """Sent twice by a client with an id."""
    settings = {"server__batch__dedup_in_connection_enabled": "true", "server__batch__dedup_scope": "identity"}
    with server(**settings) as running:
        body = encoded("batch", media_type)
        assert post(running, body, media_type, X_User_ID="1").status == 200
        return post(running, body, media_type, X_User_ID="1")


def content_type(_media_type: str) -> Response:
    """None at all."""
    with server() as running:
        return post(running, encoded("batch", JSON_TYPE), None)


def not_decoded(media_type: str) -> Response:
    """No message in any encoding."""
    with server() as running:
        return post(running, b"\x01", media_type)


def long_id(media_type: str) -> Response:
    """One byte over the limit."""
    with server() as running:
        return post(running, encoded("batch", media_type), media_type, X_User_ID="x" * 257)


def illegal_type(media_type: str) -> Response:
    """The second of two."""
    events = [{"type": "page"}, {"type": "no topic"}]
    with server() as running:
        return post(running, written({"req_guid": "1234", "events": events}, media_type), media_type)


def too_many_events(media_type: str) -> Response:
    """One more than may be."""
    with server() as running:
        return post(running, written({"req_guid": "1234", "events": [{"type": "page"}] * 5001}, media_type), media_type)


def foreign(media_type: str) -> Response:
    """From a page that CORS does not allow."""
    settings = {
        "server__cors__enabled": "true",
        "server__cors__allowed_origin": "https://shop.example",
        "server__cors__refuse_disallowed": "true",
    }
    with server(**settings) as running:
        return post(running, encoded("batch", media_type), media_type, Origin="https://elsewhere.example")


def _begun(running: Process, beginning: str) -> Response:
    """What is answered to the beginning of a request."""
    with socket.create_connection((HOST, running.http), TIMEOUT) as connection:
        connection.sendall(f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{beginning}".encode())
        response = read_response(connection)
    assert response is not None
    return response


def late_body(media_type: str) -> Response:
    """Ten bytes are promised, one comes."""
    with server(server__body_timeout_ms=200) as running:
        return _begun(running, f"Content-Type: {media_type}\r\nContent-Length: 10\r\n\r\n ")


def late_head(_media_type: str) -> Response:
    """It does not end."""
    with server(server__head_timeout_ms=200) as running:
        return _begun(running, "X-")


def too_large(media_type: str) -> Response:
    """One byte over the limit."""
    with server() as running:
        return post(running, bytes(4194305), media_type)


def unknown_coding(media_type: str) -> Response:
    """A word that is none."""
    with server() as running:
        return post(running, encoded("batch", media_type), media_type, Content_Encoding="rot13")


def too_much(media_type: str) -> Response:
    """Two events when two are allowed, and two more."""
    with server(server__rate_limit__events_per_second=1, server__rate_limit__burst=2) as running:
        body = encoded("batch", media_type)
        assert post(running, body, media_type, X_User_ID="1").status == 200
        return post(running, body, media_type, X_User_ID="1")


def not_delivered(media_type: str) -> Response:
    """Kafka does not know the topic of the second event, and does not make it."""
    with MockCluster() as cluster:
        settings = {**QUICK, "publisher.kafka.client.topic.metadata.propagation.max.ms": 100}
        with process(Topics(cluster.bootstrap), 1, settings) as running:
            cluster.topic_error(running.topics.topic("order"), KafkaError.UNKNOWN_TOPIC_OR_PART)
            return post(running, encoded("batch", media_type), media_type)


def connected(running: Process) -> None:
    """See to it that the server has delivered something, so that it has a connection to Kafka and nothing to do."""
    assert post(running, Batch("0", Event("before", b"")).written("json")).status == 200
    running.topics.wait_for(1, "before")
    time.sleep(0.1)  # until the server has heard of it


def overloaded(media_type: str) -> Response:
    """Kafka says nothing any more, the producer is full, and so is the place for those that wait."""
    with MockCluster() as cluster, process(Topics(cluster.bootstrap), 1, TIGHT) as running:
        connected(running)
        cluster.set_rtt(60_000)
        with websocket(running, "filler") as filler:
            for _ in range(3):
                filler.send(encoded("batch", JSON_TYPE).decode())
            assert filler.ping().wait(TIMEOUT)
            return post(running, encoded("batch", media_type), media_type)


def unavailable(media_type: str) -> Response:
    """Kafka goes away; the server has noticed when it no longer answers 504."""
    settings = {**QUICK, "publisher.publish.timeout.ms": 300}
    with MockCluster() as cluster, process(Topics(cluster.bootstrap), 1, settings) as running:
        connected(running)
        cluster.broker_down(1)
        deadline = time.monotonic() + TIMEOUT
        while (response := post(running, encoded("batch", media_type), media_type)).status == 504:
            assert time.monotonic() < deadline
        return response


def stopping(media_type: str) -> Response:
    """Kafka says nothing any more, the producer is full, and the batch waits for room when the server has to stop."""
    settings = {**TIGHT, "server.enqueue.timeout.ms": 20000, "publisher.publish.timeout.ms": 20000}
    with (
        MockCluster() as cluster,
        process(Topics(cluster.bootstrap), 1, settings) as running,
        ThreadPoolExecutor(1) as threads,
    ):
        connected(running)
        cluster.set_rtt(60_000)
        with websocket(running, "filler") as filler:
            filler.send(encoded("batch", JSON_TYPE).decode())
            assert filler.ping().wait(TIMEOUT)
            waiting = threads.submit(post, running, encoded("batch", media_type), media_type)
            time.sleep(0.2)
            running.signal(signal.SIGTERM)
            response = waiting.result(TIMEOUT)
        running.wait()
    assert response.headers["Connection"].lower() == "close"
    return response


def not_confirmed(media_type: str) -> Response:
    """Kafka takes longer than the server may."""
    settings = {**QUICK, "publisher.publish.timeout.ms": 300}
    with MockCluster() as cluster, process(Topics(cluster.bootstrap), 1, settings) as running:
        connected(running)
        cluster.set_rtt(60_000)
        return post(running, encoded("batch", media_type), media_type)


#: By the name of the example, which is that of a request as well where nothing but the request matters.
SITUATIONS: Mapping[str, Situation] = {
    **{name: simple(name) for name in _EXAMPLES},
    "duplicate": duplicate,
    "contentType": content_type,
    "notDecoded": not_decoded,
    "longId": long_id,
    "illegalType": illegal_type,
    "tooManyEvents": too_many_events,
    "foreign": foreign,
    "lateBody": late_body,
    "lateHead": late_head,
    "tooLarge": too_large,
    "unknownCoding": unknown_coding,
    "tooMuch": too_much,
    "notDelivered": not_delivered,
    "overloaded": overloaded,
    "unavailable": unavailable,
    "stopping": stopping,
    "notConfirmed": not_confirmed,
}
