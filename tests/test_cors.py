"""Tests of `raccoon_tx.transports.cors`: the rows of contract section 10.1."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.settings import CorsSettings
from raccoon_tx.transports.cors import Cors, Verdict

HERE = "http://localhost:3000"
VARY = ("Vary", "Origin")
ALLOWED = ("Access-Control-Allow-Origin", HERE)
EXPOSED = ("Access-Control-Expose-Headers", "Retry-After")


class CorsTests(SynchronousTestCase):
    def judge(
        self, method: str, origin: str | None, asked: str | None = None, wanted: str = "", **settings: Any
    ) -> Verdict:
        values = {"enabled": True, "origins": (HERE,), **settings}
        return Cors(CorsSettings(**values), ["X-User-ID", ""]).judge(method, origin, asked, wanted)

    def test_no_origin(self) -> None:
        """Who is no browser is served as ever; OPTIONS is answered, and grants nothing."""
        self.assertEqual(self.judge("POST", None), Verdict(None, [VARY]))
        self.assertEqual(self.judge("OPTIONS", None), Verdict(200, [VARY]))

    def test_other_origin(self) -> None:
        """Pages of other sites are served, and told nothing that lets them read the answer."""
        for origin in ("http://localhost:5050", "HTTP://LOCALHOST:3000", "null", ""):
            self.assertEqual(self.judge("POST", origin), Verdict(None, [VARY], foreign=True), origin)
            self.assertEqual(self.judge("OPTIONS", origin, "POST"), Verdict(200, [VARY], foreign=True), origin)

    def test_allowed(self) -> None:
        """Pages of allowed sites may read the answer, and when to come back."""
        self.assertEqual(self.judge("POST", HERE), Verdict(None, [ALLOWED, EXPOSED, VARY]))

    def test_preflight(self) -> None:
        """A preflight for what is allowed is granted; simple methods and headers are not spelled out."""
        self.assertEqual(
            self.judge("OPTIONS", HERE, "POST", "content-type, x-user-id,accept"),
            Verdict(200, [ALLOWED, ("Access-Control-Allow-Headers", "Content-Type,X-User-Id"), VARY]),
        )
        self.assertEqual(self.judge("OPTIONS", HERE, "POST"), Verdict(200, [ALLOWED, VARY]))

    def test_preflight_method(self) -> None:
        """A method beyond the simple ones is spelled out if it is allowed; methods are compared exactly."""
        granted = self.judge("OPTIONS", HERE, "PUT", methods=("PUT",))
        self.assertIn(("Access-Control-Allow-Methods", "PUT"), granted.headers)
        self.assertEqual(self.judge("OPTIONS", HERE, "DELETE"), Verdict(405, [VARY]))
        self.assertEqual(self.judge("OPTIONS", HERE, "post"), Verdict(405, [VARY]))

    def test_preflight_without_method(self) -> None:
        """A preflight that asks for no method is none."""
        self.assertEqual(self.judge("OPTIONS", HERE), Verdict(400, [VARY]))
        self.assertEqual(self.judge("OPTIONS", HERE, ""), Verdict(400, [VARY]))

    def test_preflight_header(self) -> None:
        """One header that is not allowed spoils the preflight, unless the operator allows it."""
        self.assertEqual(self.judge("OPTIONS", HERE, "POST", "content-type,fake-header"), Verdict(403, [VARY]))
        granted = self.judge("OPTIONS", HERE, "POST", "AUTHORIZATION", headers=("Authorization",))
        self.assertIn(("Access-Control-Allow-Headers", "Authorization"), granted.headers)

    def test_everybody(self) -> None:
        """With ``*`` the answer is ``*``, the same for everybody."""
        self.assertEqual(
            self.judge("POST", "http://anybody", origins=("*",)),
            Verdict(None, [("Access-Control-Allow-Origin", "*"), EXPOSED]),
        )

    def test_nobody(self) -> None:
        """An empty list allows nobody."""
        self.assertTrue(self.judge("POST", HERE, origins=()).foreign)

    def test_credentials(self) -> None:
        """Where cookies are allowed, both the preflight and the answer say so."""
        for verdict in (
            self.judge("POST", HERE, credentials=True),
            self.judge("OPTIONS", HERE, "POST", credentials=True),
        ):
            self.assertIn(("Access-Control-Allow-Credentials", "true"), verdict.headers)

    def test_max_age(self) -> None:
        """Browsers may remember a preflight for as long as is configured, and for ten minutes at most."""
        for configured, told in ((0, None), (5, "5"), (600, "600"), (86400, "600")):
            headers = dict(self.judge("OPTIONS", HERE, "POST", max_age=configured).headers)
            self.assertEqual(headers.get("Access-Control-Max-Age"), told)
