"""The attacks that take no time, each once: the whole table is the long tier's, ``python -m attacks``."""

from __future__ import annotations

import pytest

from attacks import table
from attacks.play import play
from attacks.rows import ROWS
from tests.integration.mock_cluster import MockCluster

SUBJECTS = sorted({attack.subject for attack in ROWS if attack.quick})


@pytest.mark.parametrize("subject", SUBJECTS)
def test_held(subject: str) -> None:
    """The server does what it has to, and good clients notice nothing but perhaps the time it takes."""
    attacks = [attack for attack in ROWS if attack.quick and attack.subject == subject]
    with MockCluster() as cluster:
        outcomes = [*play(cluster.bootstrap, attacks, part=0.02, alone=0.02)]
    broken = [table.line(outcome) for outcome in outcomes if not outcome.held]
    assert not broken, "\n".join(broken)
    assert len(outcomes) >= len(attacks)


def test_page() -> None:
    """What was kept of outcomes makes a section of the documentation."""
    trace = next(attack for attack in ROWS if attack.name == "TRACE")
    with MockCluster() as cluster:
        outcomes = [*play(cluster.bootstrap, [trace], part=0, alone=0)]
    read = [table.read(table.kept(outcome)) for outcome in outcomes]
    assert read == outcomes
    section = table.markdown(read)
    assert section.startswith("2 of 2 held.")
    assert "### HTTP requests" in section
    assert "| TRACE | 405 | held |" in section
