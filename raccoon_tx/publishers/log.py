"""The publisher that writes events to the log: contract section 11."""

from __future__ import annotations

import base64
import json
import sys

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from twisted.application.service import Service

from raccoon_tx.delivery import Delivery
from raccoon_tx.logs import Logger
from raccoon_tx.publishers.accounts import Accounts


def show(value: bytes) -> tuple[str, str]:
    """What is in the bytes of an event: a kind (``json``, ``protobuf`` or ``bytes``), and the content as text.

    Without the definition of a message its fields have numbers, not names.
    """
    try:
        return "json", json.dumps(json.loads(value), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        pass
    try:
        message = Empty.FromString(value)
    except DecodeError:
        return "bytes", base64.b64encode(value).decode("ascii")
    return "protobuf", _fields(UnknownFieldSet(message))


def _fields(fields: UnknownFieldSet) -> str:
    return " ".join(f"{each.field_number}:{_text(each.data)}" for each in fields)


def _text(data: object) -> str:
    if isinstance(data, UnknownFieldSet):
        return "{" + _fields(data) + "}"
    if isinstance(data, bytes):
        try:
            return json.dumps(data.decode("utf-8"), ensure_ascii=False)
        except UnicodeDecodeError:
            return base64.b64encode(data).decode("ascii")
    return str(data)


class LogPublisher(Service):
    """One line for each event, which never fails. For trying things out: nothing is kept."""

    _log = Logger()

    def __init__(self, accounts: Accounts) -> None:
        self.abandoned: dict[str, int] = {}
        self._accounts = accounts

    @property
    def state(self) -> tuple[bool, str]:
        """Whether it can take an event, and how it is."""
        return bool(self.running), "ok" if self.running else "stopped"

    @property
    def room(self) -> int:
        """It takes any number of events."""
        return sys.maxsize if self.running else 0

    def give_up(self) -> None:
        """Nobody ever waits here."""

    def publish(self, delivery: Delivery) -> None:
        """Write the events of one batch."""
        self._accounts.launched(delivery)
        for event in delivery.batch.events:
            kind, content = show(event.event_bytes)
            self._log.info(
                "[LogPublisher] kind = {kind}, event_type = {event_type}, event = {content}",
                kind=kind,
                event_type=event.type,
                content=content,
            )
            delivery.taken += 1
            delivery.settle()
        self._accounts.finished(delivery)
        delivery.accepted()
