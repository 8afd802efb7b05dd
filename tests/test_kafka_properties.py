"""Properties of the Kafka client, checked by the client."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import run

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from raccoon_tx.config.kafka_properties import ALIASES, check, file_name, property_name, title


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A property has a name in the file, in the environment and as a flag, and is found by each."""
        self.assertEqual(file_name("linger.ms"), "publisher.kafka.client.linger_ms")
        self.assertEqual(title("linger.ms"), "PUBLISHER_KAFKA_CLIENT_LINGER_MS (--publisher.kafka.client.linger.ms)")
        for name in ("linger_ms", "LINGER_MS", "linger.ms"):
            self.assertEqual(property_name(name), "linger.ms")


class CheckTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Whatever the client knows is fine, however seldom it is used."""
        for properties in (
            {},
            {"bootstrap.servers": "a:9092, [::1]:9092,SASL_SSL://b.example:1,c"},
            {"acks": "1", "retries": "0", "socket.keepalive.enable": "true", "batch.num.messages": "5"},
            {"acks": "all", "request.required.acks": "all"},
            {
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "u",
                "sasl.password": "p",
            },
        ):
            self.assertEqual(check(properties), [], properties)

    def test_every_mistake(self) -> None:
        """Each bad property is named, whatever else is wrong."""
        mistakes = check(
            {"batch.size": "1\0", "client.rack": "\udcff", "liger.ms": "5", "linger.ms": "often", "acks": "-5"}
        )
        for mistake, name, words in zip(
            mistakes,
            ("batch.size", "client.rack", "liger.ms", "linger.ms", "acks"),
            ("NUL", "UTF-8", "No such configuration property", "'often'", "allowed range"),
            strict=True,
        ):
            self.assertTrue(mistake.startswith(title(name) + ": "), mistake)
            self.assertIn(words, mistake)

    def test_not_a_text(self) -> None:
        """What only a program could set is refused like any other name that means nothing here."""
        for name in ("logger", "error_cb", "on_delivery", "default.topic.config", "opaque"):
            (mistake,) = check({name: "x"})
            self.assertTrue(mistake.startswith(title(name)), mistake)

    def test_combination(self) -> None:
        """Properties that are fine each alone but not together are told with the client's own words."""
        (mistake,) = check({"enable.idempotence": "true", "acks": "1"})
        self.assertTrue(mistake.startswith("PUBLISHER_KAFKA_CLIENT_* (--publisher.kafka.client.*): "), mistake)
        self.assertIn("enable.idempotence", mistake)
        (mistake,) = check({"enable.idempotence": "true", "max.in.flight": "10", "client.id": "x"})
        self.assertIn("max.in.flight", mistake)

    def test_combination_and_more(self) -> None:
        """A bad property does not hide that others do not fit together."""
        mistakes = check({"enable.idempotence": "true", "acks": "1", "liger.ms": "5"})
        self.assertEqual(len(mistakes), 2)

    def test_aliases(self) -> None:
        """Two names of one property may not be set to different values."""
        for pair in ALIASES:
            values = ("a:1", "b:1") if "bootstrap.servers" in pair else ("1", "2")
            mistake = check(dict(zip(pair, values, strict=True)))[0]
            for name in pair:
                self.assertIn(title(name), mistake)
            self.assertIn("differ", mistake)

    def test_brokers(self) -> None:
        """Brokers have the form of brokers."""
        for text in (",", " ", "a:99999", "a:0", "a:b", "::::", "a:1;b:2", "http//a:1:2", "a b:1"):
            (mistake,) = check({"bootstrap.servers": text})
            self.assertTrue(mistake.startswith(title("bootstrap.servers") + ": "), mistake)

    def test_secrets(self) -> None:
        """No mistake shows a secret, nor the value of a name that the client does not know."""
        for properties in (
            {"security.protocol": "ssl", "ssl.key.pem": "hunter2"},
            {"security.protocol": "hunter2", "sasl.password": "hunter2"},
            {"sasl.pasword": "hunter2"},
            {"sasl.password": "hunter2\0"},
        ):
            mistakes = check(properties)
            self.assertEqual(len(mistakes), 1)
            self.assertNotIn("hunter2", mistakes[0])

    def test_leaves_no_threads(self) -> None:
        """Nothing of the client is left behind that a later fork would tear apart."""
        tasks = Path("/proc/self/task")
        if not tasks.is_dir():
            raise SkipTest("threads cannot be counted here")
        before = len(os.listdir(tasks))
        check({"bootstrap.servers": "127.0.0.1:1", "client.id": "x"})
        check({"enable.idempotence": "true", "acks": "1", "liger.ms": "5"})
        self.assertEqual(len(os.listdir(tasks)), before)

    def test_silent(self) -> None:
        """The client's own remarks do not reach the terminal."""
        given = {"debug": "all", "group.id": "x", "acks": "1"}
        program = f"from raccoon_tx.config.kafka_properties import check; check({given})"
        root = Path(__file__).resolve().parent.parent
        ended = run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual((ended.stdout, ended.stderr), ("", ""))
