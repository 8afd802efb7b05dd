"""The front door: bytes <-> calls, no decisions."""

import os

# The gRPC library has lines of its own for stderr, about whatever a client does wrong. It looks here once.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# Klein, below, makes Twisted's default reactor the one of the process when it is imported; ours has to come before.
from raccoon_tx import reactor

reactor.install()
