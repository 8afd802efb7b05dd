"""Tests for `raccoon_tx.transports.identity`: contract section 3."""

from __future__ import annotations

from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Identity, Outcome
from raccoon_tx.settings import IdentitySettings
from raccoon_tx.transports.identity import BadIdentity, Identify


def identify(headers: dict[str, bytes | str], **settings: object) -> Identity:
    named = {"id_header": "X-User-ID", "group_header": "X-User-Group", **settings}
    return Identify(IdentitySettings(**named))(headers.get)  # type: ignore[arg-type]


class IdentityTests(SynchronousTestCase):
    """Who a client says it is."""

    def assert_refused(self, reason: str, headers: dict[str, bytes | str], **settings: object) -> None:
        error = self.assertRaises(BadIdentity, identify, headers, **settings)
        self.assertEqual((error.reason, error.outcome), (reason, Outcome.INVALID))

    def test_both_headers(self) -> None:
        """Id and group are the values of the two headers that the settings name, in whatever letter case."""
        self.assertEqual(identify({"x-user-id": b"1234", "x-user-group": b"viewers"}), Identity("viewers", "1234"))

    def test_printed(self) -> None:
        """Log lines and refusals show an identity as ``[group] id``."""
        self.assertEqual(str(Identity("viewers", "1234")), "[viewers] 1234")

    def test_no_id(self) -> None:
        """A client without an id is let in, and its id is empty."""
        self.assertEqual(identify({}), Identity("--default--", ""))
        self.assertEqual(identify({"x-user-id": b""}), Identity("--default--", ""))

    def test_id_required(self) -> None:
        """With ``require_id`` it is not let in."""
        for headers in ({}, {"x-user-id": b""}):
            self.assert_refused(
                "the header X-User-ID with the connection id is missing or empty", headers, require_id=True
            )
        self.assertEqual(identify({"x-user-id": b"1"}, require_id=True).id, "1")

    def test_no_group(self) -> None:
        """A missing or empty group is the default group, and so is any group if no header is configured for it."""
        self.assertEqual(identify({"x-user-id": b"1"}, default_group="all"), Identity("all", "1"))
        self.assertEqual(identify({"x-user-id": b"1", "x-user-group": b""}, default_group="all"), Identity("all", "1"))
        self.assertEqual(identify({"x-user-id": b"1", "": b"x"}, group_header=""), Identity("--default--", "1"))

    def test_length(self) -> None:
        """Each part may have 256 bytes of UTF-8 and no more."""
        self.assertEqual(identify({"x-user-id": b"x" * 256}).id, "x" * 256)
        self.assertEqual(identify({"x-user-id": "\u20ac" * 85}).id, "\u20ac" * 85)
        self.assert_refused("the header X-User-ID is longer than 256 bytes", {"x-user-id": b"x" * 257})
        self.assert_refused("the header X-User-ID is longer than 256 bytes", {"x-user-id": "\u20ac" * 86})
        self.assert_refused("the header X-User-Group is longer than 256 bytes", {"x-user-group": b"x" * 257})

    def test_control_characters(self) -> None:
        """Nothing in an identity can break a line of the log."""
        for character in [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0))]:
            self.assert_refused("the header X-User-ID has control characters", {"x-user-id": f"a{character}b".encode()})
            self.assert_refused("the header X-User-Group has control characters", {"x-user-group": f"{character}"})
        self.assertEqual(identify({"x-user-id": "a \u00a0~"}).id, "a \u00a0~")

    def test_not_utf_8(self) -> None:
        """Headers are UTF-8; gRPC hands over text, which may be no text."""
        self.assert_refused("the header X-User-ID is not UTF-8", {"x-user-id": b"\xff"})
        self.assert_refused("the header X-User-ID is not UTF-8", {"x-user-id": "\ud800"})
        self.assertEqual(identify({"x-user-id": "\u00fc".encode()}).id, "\u00fc")

    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_anything(self, identifier: bytes, group: bytes) -> None:
        """Whatever a client sends, it is refused or gets an identity that is short, and printable in a log."""
        try:
            client = identify({"x-user-id": identifier, "x-user-group": group})
        except BadIdentity:
            return
        for part, sent in (client.id, identifier), (client.group, group or b"--default--"):
            self.assertEqual(part.encode(), sent)
            self.assertLessEqual(len(sent), 256)
            self.assertNotIn("Cc", map(category, part))
