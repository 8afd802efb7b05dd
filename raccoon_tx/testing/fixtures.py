"""For pytest: with ``pytest_plugins = ["raccoon_tx.testing.fixtures"]`` in a ``conftest.py``, tests may ask for
`raccoon_server`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from raccoon_tx.testing.server import TestServer

__all__ = ["raccoon_server", "raccoon_settings"]


@pytest.fixture
def raccoon_settings() -> Mapping[str, object]:
    """Settings of the server by the names of their flags. Override this fixture to have others."""
    return {}


@pytest.fixture
def raccoon_server(raccoon_settings: Mapping[str, object]) -> Iterator[TestServer]:
    """A server for one test, with a broker of its own: nothing that other tests sent is there."""
    with TestServer(raccoon_settings) as server:
        yield server
