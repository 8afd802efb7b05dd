"""For tests: a whole server inside the process, and stand-ins for what a test cannot or need not have.

For pytest there is a fixture in `raccoon_tx.testing.fixtures`.
"""

from raccoon_tx.testing.memory import MemoryMessage, MemoryProducer
from raccoon_tx.testing.server import TestServer

__all__ = ["MemoryMessage", "MemoryProducer", "TestServer"]
