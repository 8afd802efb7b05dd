"""The least that any server in Python must spend on a gRPC call: a `grpc.server` that answers with a constant.

``empty_grpc.py PORT``; ends with the standard input.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

#: status 1, code 1.
ANSWER = b"\x08\x01\x10\x01"


def main() -> None:
    """Serve until there is nobody left on the standard input."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: ANSWER)
    service = grpc.method_handlers_generic_handler("raystack.raccoon.v1beta1.EventService", {"SendEvent": handler})
    server = grpc.server(ThreadPoolExecutor(64), [service])
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(0)


if __name__ == "__main__":
    main()
