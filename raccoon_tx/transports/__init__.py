"""The front door: bytes <-> calls, no decisions."""

import os

# The gRPC library has lines of its own for stderr, about whatever a client does wrong. It looks here once.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
