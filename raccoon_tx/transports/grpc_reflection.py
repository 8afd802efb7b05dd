"""Tells gRPC clients which services there are: ``server.grpc.reflection``, with the package ``grpcio-reflection``."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from raccoon_tx.model import Refused
from raccoon_tx.transports.grpc_compression import unpacked

#: Newer clients ask by the first name; nothing else has changed between the two.
NAMES = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"

#: Clients that may ask at once; each takes a thread for as long as it stays.
CLIENTS = 4
#: Bytes of a question.
LARGEST = 4096


class ReflectionMissing(Exception):
    """It cannot be had. The text says what to do."""


def reflection_handlers(files: Iterable[Any]) -> list[grpc.GenericRpcHandler]:
    """The methods of the service, for a gRPC server.

    :param files: descriptors of the files that define the services. They may come from several pools.
    :raises ReflectionMissing: the package is not installed.
    """
    try:
        from grpc_reflection.v1alpha import reflection_pb2 as messages
        from grpc_reflection.v1alpha.reflection import ReflectionServicer
    except ImportError:
        raise ReflectionMissing(
            "SERVER_GRPC_REFLECTION (--server.grpc.reflection) needs the package grpcio-reflection: "
            "pip install 'raccoon_tx[reflection]'"
        ) from None
    files = list(files)
    pool = DescriptorPool()
    known: set[str] = set()
    for file in files:
        _add(file, pool, known)
    services = [service.full_name for file in files for service in file.services_by_name.values()]
    servicer = ReflectionServicer([*services, *NAMES], pool)

    def read(message: bytes) -> Any:
        try:
            return messages.ServerReflectionRequest.FromString(unpacked(message, LARGEST))
        except (DecodeError, Refused):
            return messages.ServerReflectionRequest()  # asks for nothing, and is told so

    def inform(requests: Any, context: grpc.ServicerContext) -> Any:
        return servicer.ServerReflectionInfo(requests, context)

    # So that who asks takes no thread from who sends.
    inform.experimental_thread_pool = ThreadPoolExecutor(  # type: ignore[attr-defined]
        CLIENTS, thread_name_prefix="grpc-reflection"
    )
    method = grpc.stream_stream_rpc_method_handler(
        inform,
        request_deserializer=read,
        response_serializer=messages.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in NAMES]


def _add(file: Any, pool: DescriptorPool, known: set[str]) -> None:
    if file.name not in known:
        known.add(file.name)
        for needed in file.dependencies:
            _add(needed, pool, known)
        pool.AddSerializedFile(file.serialized_pb)
