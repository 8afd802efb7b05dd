"""Flags in the manner of Go."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config.flags import help_rows, parse_flags
from raccoon_tx.config.keys import KEYS


class FlagsTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """A value follows after ``=`` or as the next argument; a switch stands alone or has a value after ``=``."""
        for argv, values in (
            (["--server.websocket.port=1"], {"server.websocket.port": "1"}),
            (["--server.websocket.port", "1"], {"server.websocket.port": "1"}),
            (["--server.cors.enabled"], {"server.cors.enabled": "true"}),
            (["--server.cors.enabled=f"], {"server.cors.enabled": "f"}),
            (["--server.websocket.conn.group.default", "--x--"], {"server.websocket.conn.group.default": "--x--"}),
            (["--publisher.kafka.client.acks", "-1"], {"publisher.kafka.client.acks": "-1"}),
            (["--publisher.kafka.client.a.b=c=d"], {"publisher.kafka.client.a.b": "c=d"}),
            (["--log.level=info", "--log.level=warn"], {"log.level": "warn"}),
            (["--server.websocket.conn.group.header="], {"server.websocket.conn.group.header": ""}),
            (["--event.allowed.types=a,b", "--event.allowed.types", "c"], {"event.allowed.types": ["a,b", "c"]}),
            (["--server.websocket.conn.uniq.id.header=x"], {"server.websocket.conn.uniq.id.header": "x"}),
        ):
            flags = parse_flags(argv)
            self.assertEqual((flags.values, flags.mistakes), (values, []), argv)

    def test_config_file(self) -> None:
        """The file is named by either flag, in either form."""
        for argv in (["-c", "f"], ["-c=f"], ["--config", "f"], ["--config=f"], ["-c", "e", "-c", "f"]):
            self.assertEqual(parse_flags(argv).config_file, "f", argv)
        self.assertIsNone(parse_flags([]).config_file)

    def test_help_and_switches(self) -> None:
        """Help and the command's own switches are told apart from settings."""
        flags = parse_flags(["--once", "-h"], ["once"])
        self.assertEqual((flags.help, flags.switches, flags.values, flags.mistakes), (True, {"once"}, {}, []))
        self.assertEqual(parse_flags(["--once"]).mistakes, ["unknown flag: --once"])

    def test_mistakes(self) -> None:
        """Everything wrong is named, with what was probably meant; nothing is completed silently."""
        for argv, mistakes in (
            (
                ["--server.websocket.p", "1"],
                ["unknown flag: --server.websocket.p (did you mean --server.websocket.port?)"],
            ),
            (
                ["--server.websocket.max_conn=1"],
                ["unknown flag: --server.websocket.max_conn (did you mean --server.websocket.max.conn?)"],
            ),
            (["-config", "f"], ["unknown flag: -config (did you mean --config?)"]),
            (["--publisher.kafka.client.", "x"], ["unknown flag: --publisher.kafka.client."]),
            (["--log.level"], ["--log.level needs a value"]),
            (["--log.level", "--log.format=json"], ["--log.level needs a value"]),
            (["-c"], ["--config needs a value"]),
            (["--", "-"], ["unexpected argument: '--'", "unexpected argument: '-'"]),
            (["server"], ["unexpected argument: 'server'"]),
            (
                ["--server.cors.enabled", "false"],
                [
                    "unexpected argument after --server.cors.enabled: "
                    "a switch takes its value with '=', as in --server.cors.enabled=false"
                ],
            ),
            (
                ["--zzz=1", "--log.level=info", "rest"],
                [
                    "unknown flag: --zzz",
                    "unexpected argument after --log.level: put a value that has spaces in quotes",
                ],
            ),
        ):
            self.assertEqual(
                [text.partition(" (did you mean --publisher")[0] for text in parse_flags(argv).mistakes], mistakes
            )

    def test_no_secret_is_repeated(self) -> None:
        """A password that lost its quotes is not shown."""
        for argv in (
            ["--publisher.kafka.client.sasl.password", "one", "hunter2"],
            ["--publisher.kafka.client.sasl.password=", "hunter2"],
            ["--publisher.kafka.klient.sasl.password=hunter2"],
            ["--publisher.kafka.klient.sasl.password", "hunter2"],
        ):
            mistakes = parse_flags(argv).mistakes
            self.assertEqual(len(mistakes), 1)
            self.assertNotIn("hunter2", mistakes[0])

    def test_help_rows(self) -> None:
        """The help has each flag once, the command's own first."""
        rows = [row for _, section in help_rows({"once": "ends at once"}) for row in section]
        self.assertEqual(rows[0], ("--once", "ends at once"))
        written = [left.split("[")[0].split(" ")[0] for left, _ in rows]
        for key in KEYS:
            self.assertEqual(written.count(f"--{key.flag}"), 1)
        self.assertIn(("--server.cors.enabled[=BOOL]", "answer browsers of other sites [default: false]"), rows)
        self.assertIn("--publisher.kafka.client.PROPERTY", written)
