"""What values may be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config import kinds
from raccoon_tx.config.kinds import Kind, Value, integer, one_of, several_of

GOOD: tuple[tuple[Kind, str, Value], ...] = (
    *((kinds.BOOL, text, True) for text in ("1", "t", "T", "TRUE", "true", "True", "yes", "on", "On", " y ")),
    *((kinds.BOOL, text, False) for text in ("0", "f", "F", "FALSE", "false", "False", "no", "off", "OFF", "n")),
    (kinds.PORT, "0", 0),
    (kinds.PORT, " 65535 ", 65535),
    (kinds.COUNT, "+7", 7),
    (kinds.BYTES, "4_194_304", 4194304),
    (kinds.DISK_BYTES, "1099511627776", 2**40),
    (kinds.COUNT_OR_NONE, "0", 0),
    (kinds.TEXT, " as it is ", " as it is "),
    (kinds.LIST, " a, b ,,c", ("a", "b", "c")),
    (kinds.LIST, "", ()),
    (kinds.HEADER, "X-User-ID", "X-User-ID"),
    (kinds.HEADER, "", ""),
    (kinds.GROUP, "--default--", "--default--"),
    (kinds.PATTERN, "clickstream-%s-log", "clickstream-%s-log"),
    (kinds.PATTERN, "%s", "%s"),
    (kinds.PATTERN, "events", "events"),
    (kinds.PUBLISHER, "embedded", "embedded"),
    (kinds.ACK, "1", 1),
    (kinds.LEVEL, "WARN", "warn"),
    (kinds.LEVEL, "warning", "warn"),
    (kinds.LEVEL, "trace", "debug"),
    (one_of("text", "json"), "JSON", "json"),
    (one_of("ON_DEMAND"), "on_demand", "ON_DEMAND"),
    (several_of("guid", "time"), "time, guid", ("time", "guid")),
)

BAD = (
    (kinds.BOOL, "maybe"),
    (kinds.BOOL, ""),
    (kinds.BOOL, "2"),
    (kinds.PORT, "65536"),
    (kinds.PORT, "-1"),
    (kinds.PORT, "http"),
    (kinds.PORT, "80.0"),
    (kinds.PORT, ""),
    (kinds.PORT, "٣"),
    (kinds.COUNT, "0"),
    (kinds.COUNT, "1e3"),
    (kinds.MILLISECONDS, "2147483648"),
    (kinds.COUNT, "9" * 5000),
    (kinds.HEADER, "X User"),
    (kinds.HEADER, "X-Üser"),
    (kinds.HEADER, "X-User:"),
    (kinds.GROUP, "a\nb"),
    (kinds.GROUP, "g" * 257),
    (kinds.GROUP, "\udcff"),
    (kinds.TEXT, "\udcff"),
    (kinds.TEXT, "a\0b"),
    (kinds.LIST, "a,\udcff"),
    (kinds.PATTERN, ""),
    (kinds.PATTERN, "%s-%s"),
    (kinds.PATTERN, "a-%d"),
    (kinds.PATTERN, "a b"),
    (kinds.PATTERN, ".."),
    (kinds.PATTERN, "__%s"),
    (kinds.PATTERN, "%s" + "a" * 249),
    (kinds.PATTERN, "a\n"),
    (kinds.PUBLISHER, "rabbitmq"),
    (kinds.ACK, "3"),
    (kinds.ACK, "-1"),
    (kinds.LEVEL, "loud"),
    (one_of("text", "json"), "xml"),
    (several_of("guid", "time"), "guid,id"),
)


class KindTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Each kind of value takes all forms that the reference takes, and some more."""
        for kind, text, value in GOOD:
            self.assertEqual(kind.parse(text), value, (kind.metavar, text))
            self.assertIs(type(kind.parse(text)), type(value))

    def test_bad(self) -> None:
        """What will not do is refused, in a sentence of bounded length."""
        for kind, text in BAD:
            with self.assertRaises(ValueError, msg=(kind.metavar, text)) as caught:
                kind.parse(text)
            self.assertLess(len(str(caught.exception)), 300)

    def test_says_what_is_allowed(self) -> None:
        """The text of a mistake names the value and what it may be."""
        for kind, text, words in (
            (kinds.PORT, "99999", ("'99999'", "0", "65535")),
            (integer(1, 5), "x", ("'x'", "1", "5")),
            (one_of("text", "json"), "xml", ("'xml'", "text", "json")),
            (kinds.LEVEL, "loud", ("'loud'", "debug", "panic")),
            (kinds.PUBLISHER, "rabbitmq", ("unknown publisher: rabbitmq", "kafka", "embedded", "log")),
            (kinds.PUBLISHER, "pubsub", ("not available in this release", "google-cloud-pubsub")),
            (kinds.PUBLISHER, "kinesis", ("not available in this release", "boto3")),
            (kinds.ACK, "3", ("0 (taken)", "2 (durable)")),
            (kinds.PATTERN, "a%sb%s", ("second %s",)),
        ):
            message = str(self.assertRaises(ValueError, kind.parse, text))
            for word in words:
                self.assertIn(word, message)
