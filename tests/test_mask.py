"""Tests of `raccoon_tx.transports.mask`."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.mask import NVX, SMALL, unmask, unmask_by_integer, unmask_by_nvx


class UnmaskTests(SynchronousTestCase):
    @given(st.binary(min_size=4, max_size=4), st.binary(max_size=2 * SMALL))
    @example(b"abcd", bytes(SMALL))
    @example(b"abcd", bytes(SMALL + 1))
    @example(b"abcd", bytes(70_001))
    def test_same(self, mask: bytes, payload: bytes) -> None:
        """Each way gives each byte exclusive-or its byte of the mask, as RFC 6455 section 5.3 says."""
        expected = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.assertEqual(unmask(mask, payload), expected)
        self.assertEqual(unmask_by_integer(mask, payload), expected)
        if NVX:
            self.assertEqual(unmask_by_nvx(mask, payload), expected)

    def test_switched_off(self) -> None:
        """Who tells Autobahn to do without its compiled functions gets the same bytes without them."""
        code = "from raccoon_tx.transports import mask; print(mask.NVX, mask.unmask(b'abcd', bytes(1001))[-1:])"
        environ = {**os.environ, "AUTOBAHN_USE_NVX": "0"}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split(), ["False", "b'a'"])
