"""HTTP/1.1 as it should not be."""

from __future__ import annotations

from attacks.attack import BOTH, Attack
from attacks.raw import post
from attacks.target import Target

SUBJECT = "HTTP"


def no_host(target: Target) -> None:
    with target.connect() as raw:
        raw.send(post(host=False))
        raw.require_answer(400)
        raw.require_closed(5.0)


ROWS = (
    Attack(
        name="no Host",
        subject=SUBJECT,
        does="a request without Host",
        limit="400, closed",
        run=no_host,
        ways=BOTH,
        quick=True,
    ),
)
