"""The real Kafka node keeps what it acknowledged, whichever way it is stopped."""

from __future__ import annotations

from uuid import uuid4

import pytest
from confluent_kafka import KafkaException

from tests.integration.consume import read_all, read_until_end
from tests.integration.kafka_node import KafkaNode
from tests.integration.test_brokers import produce


def test_topic(kafka_node: KafkaNode) -> None:
    """A topic is created with its settings, once."""
    name = f"made-{uuid4()}"
    kafka_node.create_topic(name, {"max.message.bytes": "1000"}, partitions=1)
    with pytest.raises(KafkaException):
        kafka_node.create_topic(name)
    small, large = produce(kafka_node.bootstrap, name, b"x"), produce(kafka_node.bootstrap, name, b"x" * 2000)
    assert small == [0]
    assert large != [0]
    assert read_until_end(kafka_node.bootstrap, [name]) == {name: [b"x"]}


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_keeps_data(kafka_node: KafkaNode, way: str) -> None:
    """After a stop, and after a kill, it comes back at the same address with its data, and takes more."""
    name, address = f"kept-{uuid4()}", kafka_node.bootstrap
    assert produce(address, name, b"1", b"2") == [0, 0]
    getattr(kafka_node, way)()
    try:
        assert not kafka_node.running
    finally:
        kafka_node.start()
    assert kafka_node.bootstrap == address
    assert read_until_end(address, [name, "never-made"]) == {name: [b"1", b"2"], "never-made": []}
    assert produce(address, name, b"3") == [0]
    assert read_all(address, [name], 3, timeout=20) == {name: [b"1", b"2", b"3"]}


def test_broker_is_the_node(broker: str, kafka_node: KafkaNode) -> None:
    """With ``--broker=kafka`` every test that asks for a broker talks to this node."""
    assert broker == kafka_node.bootstrap
