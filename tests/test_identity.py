"""Tests for `raccoon_tx.transports.identity`: contract section 3."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Identity, Outcome
from raccoon_tx.settings import IdentitySettings
from raccoon_tx.transports.identity import BadIdentity, Identify, Sources


def identify(headers: dict[str, bytes | str], **settings: object) -> Identity:
    named = {"id_header": "X-User-ID", "group_header": "X-User-Group", **settings}
    return Identify(IdentitySettings(**named))(Sources(headers.get))  # type: ignore[arg-type]


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


def encoded(text: str) -> str:
    """As it stands in a subprotocol."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


class SourcesTests(SynchronousTestCase):
    """The places, beside the headers, where a client may say who it is."""

    def identify(
        self,
        headers: dict[str, bytes] | None = None,
        offered: Sequence[str] = (),
        query: dict[str, str] | None = None,
        cookies: dict[str, bytes] | None = None,
        **settings: object,
    ) -> Identity:
        named = {
            "id_header": "X-User-ID",
            "group_header": "X-User-Group",
            "id_query": "id",
            "group_query": "group",
            "id_cookie": "uid",
            "group_cookie": "ugroup",
            **settings,
        }
        sources = Sources((headers or {}).get, offered, (query or {}).get, (cookies or {}).get)
        return Identify(IdentitySettings(**named))(sources)  # type: ignore[arg-type]

    def test_order(self) -> None:
        """A header wins over a subprotocol, that over the query, that over a cookie, for id and group each by
        itself."""
        headers = {"x-user-id": b"1", "x-user-group": b"a"}
        offered = ["raccoon.json.v1", "raccoon.id." + encoded("2"), "raccoon.group." + encoded("b")]
        query = {"id": "3", "group": "c"}
        cookies = {"uid": b"4", "ugroup": b"d"}
        for expected, sources in (
            (("a", "1"), (headers, offered, query, cookies)),
            (("b", "2"), ({}, offered, query, cookies)),
            (("c", "3"), ({}, [], query, cookies)),
            (("d", "4"), ({}, [], {}, cookies)),
            (("--default--", ""), ({}, [], {}, {})),
            (("b", "1"), ({"x-user-id": b"1"}, offered, query, cookies)),
            (("a", "4"), ({"x-user-group": b"a"}, offered[:1], {}, cookies)),
            (("c", "2"), ({}, offered[1:2], {"group": "c"}, cookies)),
        ):
            self.assertEqual(self.identify(*sources), Identity(*expected))

    def test_empty(self) -> None:
        """An empty value is none: the next place is looked at, and in the end there is the default group."""
        headers = {"x-user-id": b"", "x-user-group": b""}
        offered = ["raccoon.id.", "raccoon.group."]
        query = {"id": "", "group": ""}
        cookies = {"uid": b"4", "ugroup": b"d"}
        self.assertEqual(self.identify(headers, offered, query, cookies), Identity("d", "4"))
        self.assertEqual(self.identify(headers, offered, query, {"uid": b""}), Identity("--default--", ""))

    def test_switched_off(self) -> None:
        """Each place can be switched off by itself, and is not even looked at then."""
        offered = ["raccoon.id.!!", "raccoon.group.!!"]
        query = {"id": "\x00", "group": "\x00", "": "\x00"}
        cookies = {"uid": b"\xff", "ugroup": b"\xff", "": b"\xff"}
        off = {"subprotocol": False, "id_query": "", "group_query": "", "id_cookie": "", "group_cookie": ""}
        self.assertEqual(self.identify({}, offered, query, cookies, **off), Identity("--default--", ""))
        self.assertEqual(self.identify({}, [], {"id": "3", "group": "c"}, {}, id_query=""), Identity("c", ""))
        self.assertEqual(
            self.identify({}, [], {}, {"uid": b"4", "ugroup": b"d"}, group_cookie=""), Identity("--default--", "4")
        )

    def test_not_looked_at(self) -> None:
        """What is wrong in a place that does not count does not matter."""
        good = {"x-user-id": b"1", "x-user-group": b"a"}
        self.assertEqual(self.identify(good, ["raccoon.id.!"], {"id": "\x00"}, {"uid": b"\xff"}), Identity("a", "1"))

    def test_base64url(self) -> None:
        """A subprotocol carries its value in base64url without padding; whatever else follows is refused."""
        for text in ("1", "12", "123", "\u00fc?>", "a b", "x" * 256):
            self.assertEqual(self.identify(offered=["raccoon.id." + encoded(text)]).id, text)
        for wrong in ("MQ==", "M", "MTIzN", "+/+/", "M Q", "M\u00fc", "MQ.", "="):
            with self.assertRaises(BadIdentity) as raised:
                self.identify(offered=["raccoon.id." + wrong])
            self.assertEqual(
                raised.exception.reason, "what follows raccoon.id. in a subprotocol is not base64url without padding"
            )

    def test_several_offers(self) -> None:
        """The first of several entries counts; others are not looked at, and letter case matters in them."""
        self.assertEqual(self.identify(offered=["raccoon.id.MQ", "raccoon.id.!!"]).id, "1")
        self.assertEqual(self.identify(offered=["RACCOON.ID.MQ", "bearer", "token"]).id, "")

    def test_bounds(self) -> None:
        """What a value may be is the same everywhere, and the refusal names the place."""
        for sources, place in (
            ({"offered": ["raccoon.id." + encoded("x" * 257)]}, "the subprotocol raccoon.id.\u2026 is longer"),
            ({"offered": ["raccoon.group." + encoded("a\nb")]}, "the subprotocol raccoon.group.\u2026 has control"),
            ({"offered": ["raccoon.id._w"]}, "the subprotocol raccoon.id.\u2026 is not UTF-8"),
            ({"query": {"id": "x" * 257}}, "the query parameter id is longer"),
            ({"query": {"group": "\x7f"}}, "the query parameter group has control"),
            ({"cookies": {"uid": b"\xff"}}, "the cookie uid is not UTF-8"),
            ({"cookies": {"ugroup": b"a\tb"}}, "the cookie ugroup has control"),
        ):
            with self.assertRaises(BadIdentity) as raised:
                self.identify(**sources)  # type: ignore[arg-type]
            self.assertTrue(raised.exception.reason.startswith(place), raised.exception.reason)

    def test_required(self) -> None:
        """Where an id is required it may come from any of the places."""
        for sources in ({"offered": ["raccoon.id.MQ"]}, {"query": {"id": "1"}}, {"cookies": {"uid": b"1"}}):
            self.assertEqual(self.identify(require_id=True, **sources).id, "1")  # type: ignore[arg-type]
        self.assertRaises(BadIdentity, self.identify, offered=["raccoon.id."], require_id=True)
