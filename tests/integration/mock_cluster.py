"""The cluster inside librdkafka, told what to do wrong: error codes, slow answers, brokers that are away.

It speaks the real protocol on real loopback sockets and lives in memory. The functions are reached in the very
librdkafka that `confluent_kafka` has loaded, so there is one copy of it in the process, and one version.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_size_t, c_void_p
from functools import cache

from attrs import define, field
from confluent_kafka import KafkaError, KafkaException, cimpl

#: Api keys, for `MockCluster.push_request_errors`.
PRODUCE, FETCH, METADATA, INIT_PRODUCER_ID = 0, 1, 3, 22

_PRODUCER = 0
_ALL_BROKERS = -1

#: Name, result and arguments of what is called.
SYMBOLS = {
    "rd_kafka_conf_new": (c_void_p, []),
    "rd_kafka_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "rd_kafka_destroy": (None, [c_void_p]),
    "rd_kafka_mock_cluster_new": (c_void_p, [c_void_p, c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [c_void_p]),
    "rd_kafka_mock_cluster_bootstraps": (c_char_p, [c_void_p]),
    "rd_kafka_mock_topic_create": (c_int, [c_void_p, c_char_p, c_int, c_int]),
    "rd_kafka_mock_topic_set_error": (None, [c_void_p, c_char_p, c_int]),
    "rd_kafka_mock_partition_set_leader": (c_int, [c_void_p, c_char_p, c_int32, c_int32]),
    "rd_kafka_mock_push_request_errors_array": (None, [c_void_p, c_int16, c_size_t, POINTER(c_int)]),
    "rd_kafka_mock_clear_request_errors": (None, [c_void_p, c_int16]),
    "rd_kafka_mock_broker_set_down": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_broker_set_up": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_broker_set_rtt": (c_int, [c_void_p, c_int32, c_int]),
}


@cache
def librdkafka() -> ctypes.CDLL:
    """The librdkafka of `confluent_kafka`.

    Names are looked up in its extension module, and from there in what that was linked with: no path to guess.
    """
    library = ctypes.CDLL(cimpl.__file__)
    for name, (result, arguments) in SYMBOLS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _check(code: int) -> None:
    if code:
        raise KafkaException(KafkaError(code))


@define(eq=False)
class MockCluster:
    """A cluster of ``brokers`` brokers, numbered from 1. Topics come into being when first written to, too.

    :ivar bootstrap: the address for clients.
    """

    brokers: int = 1
    bootstrap: str = field(init=False)
    _handle: int | None = field(init=False, default=None)
    _cluster: int | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        library = librdkafka()
        settings = library.rd_kafka_conf_new()
        reason = ctypes.create_string_buffer(256)
        library.rd_kafka_conf_set(settings, b"log_level", b"0", reason, len(reason))
        self._handle = library.rd_kafka_new(_PRODUCER, settings, reason, len(reason))
        if not self._handle:
            raise RuntimeError(reason.value.decode())
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, self.brokers)
        if not self._cluster:
            self.close()
            raise RuntimeError("librdkafka could not open a mock cluster.")
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _open(self) -> int:
        """The cluster, for librdkafka, which does not survive a null pointer."""
        if self._cluster is None:
            raise RuntimeError("This cluster is closed.")
        return self._cluster

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Create a topic. :raises KafkaException: it is there already."""
        _check(librdkafka().rd_kafka_mock_topic_create(self._open, name.encode(), partitions, 1))

    def topic_error(self, name: str, code: int) -> None:
        """Answer with ``code`` whoever asks about the topic; 0 ends that."""
        librdkafka().rd_kafka_mock_topic_set_error(self._open, name.encode(), code)

    def set_leader(self, name: str, partition: int, broker: int) -> None:
        """Move a partition to another broker."""
        _check(librdkafka().rd_kafka_mock_partition_set_leader(self._open, name.encode(), partition, broker))

    def push_request_errors(self, api_key: int, codes: Iterable[int]) -> None:
        """Answer the next requests of this kind with these codes, one each; 0 lets one pass."""
        errors = list(codes)
        array = (c_int * len(errors))(*errors)
        librdkafka().rd_kafka_mock_push_request_errors_array(self._open, api_key, len(errors), array)

    def clear_request_errors(self, api_key: int) -> None:
        """Forget the codes not yet answered with."""
        librdkafka().rd_kafka_mock_clear_request_errors(self._open, api_key)

    def broker_down(self, broker: int) -> None:
        """Cut every connection of a broker, and refuse new ones."""
        _check(librdkafka().rd_kafka_mock_broker_set_down(self._open, broker))

    def broker_up(self, broker: int) -> None:
        """Accept connections again."""
        _check(librdkafka().rd_kafka_mock_broker_set_up(self._open, broker))

    def set_rtt(self, milliseconds: int) -> None:
        """Delay every answer of every broker by this much."""
        _check(librdkafka().rd_kafka_mock_broker_set_rtt(self._open, _ALL_BROKERS, milliseconds))

    def close(self) -> None:
        """End the cluster and what it held. Clients still connected only see it go away."""
        cluster, self._cluster = self._cluster, None
        if cluster:
            librdkafka().rd_kafka_mock_cluster_destroy(cluster)
        handle, self._handle = self._handle, None
        if handle:
            librdkafka().rd_kafka_destroy(handle)
