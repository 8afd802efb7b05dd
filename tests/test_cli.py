"""The ``raccoon`` command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._version import __version__
from raccoon_tx.cli import cli, main
from raccoon_tx.config import Loaded
from raccoon_tx.config.file import read_file
from raccoon_tx.config.keys import KEYS

ROOT = Path(__file__).resolve().parent.parent

MINIMAL = ["--server.websocket.conn.id.header=X-User-ID", "--publisher.type", "log"]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)

    def run_command(self, *argv: str, **environ: str) -> tuple[int, str]:
        """Status, and both outputs in one."""
        ended = CliRunner(env=environ).invoke(cli, argv)
        return ended.exit_code, ended.output

    def stand_in(self, module: str, status: int) -> list[tuple[Any, ...]]:
        """Something else in the place of what really runs; returns the arguments that it is called with."""
        calls: list[tuple[Any, ...]] = []

        def run(*arguments: Any) -> int:
            calls.append(arguments)
            return status

        fake = ModuleType(module)
        fake.run = run  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, module: fake})
        return calls


class CommandTests(Case):
    def test_help(self) -> None:
        """Without a command, with ``help`` and with ``--help`` one sees the commands."""
        for argv in ((), ("help",), ("--help",), ("-h",)):
            status, output = self.run_command(*argv)
            self.assertEqual(status, 0)
            names = ("server", "demo", "send", "tail", "top", "bench", "health", "config", "version", "completion")
            for name in names:
                self.assertIn(f"\n  {name} ", output)

    def test_help_of_a_command(self) -> None:
        """Each command explains itself, in two ways."""
        for name in (
            ("server",),
            ("config", "print"),
            ("demo",),
            ("send",),
            ("tail",),
            ("top",),
            ("health",),
            ("bench",),
            ("config",),
            ("completion",),
        ):
            status, output = self.run_command("help", *name)
            self.assertEqual((status, output), self.run_command(*name, "--help"))
            self.assertEqual(status, 0)
            self.assertTrue(output.startswith(f"Usage: raccoon {' '.join(name)} "), output)

    def test_help_of_the_server(self) -> None:
        """The flags are shown by section with what they take, do and are by default."""
        _, output = self.run_command("server", "--help")
        for key in KEYS:
            self.assertIn(f"--{key.flag}", output)
        for words in (
            "REST and WebSocket:",
            "--log.format text|json",
            "[default: 8080]",
            "-c, --config",
        ):
            self.assertIn(words, output)
        self.assertNotIn("--once", output)
        self.assertIn("--once", self.run_command("demo", "--help")[1])

    def test_version(self) -> None:
        """The version is printed, however one asks for it."""
        for word in ("version", "--version"):
            self.assertEqual(self.run_command(word), (0, f"raccoon_tx {__version__}\n"))

    def test_mistakes_of_usage(self) -> None:
        """Whatever is wrong with a command line, the status is 1, and what was meant is named."""
        for argv, words in (
            (("sever",), "unknown command: sever (did you mean server?)"),
            (("config", "chek"), "unknown command: chek (did you mean check?)"),
            (("help", "sever"), "unknown command: sever (did you mean server?)"),
            (("--nope",), "--nope"),
            (("server", *MINIMAL, "--log.leve=info"), "unknown flag: --log.leve (did you mean --log.level?)"),
            (("server", *MINIMAL, "--once"), "unknown flag: --once"),
            (("server", *MINIMAL, "--log.level"), "--log.level needs a value"),
            (("config", "print", *MINIMAL, "x"), "unexpected argument"),
            (("completion",), "argument"),
            (("completion", "csh"), "csh"),
        ):
            status, output = self.run_command(*argv)
            self.assertEqual(status, 1, argv)
            self.assertIn(words, output)
            self.assertTrue(output.startswith("error: "), output)
            self.assertNotIn("Traceback", output)

    def test_completion(self) -> None:
        """The scripts call the program for its completions."""
        for shell in ("bash", "zsh", "fish"):
            status, output = self.run_command("completion", shell)
            self.assertEqual(status, 0)
            self.assertIn(f"_RACCOON_COMPLETE={shell}_complete", output)

    def test_completions(self) -> None:
        """Commands, flags and the words a flag takes are completed."""
        for words, completed in (
            ("raccoon ser", {"server"}),
            ("raccoon config ch", {"check"}),
            (
                "raccoon server --server.websocket.conn.gr",
                {
                    "--server.websocket.conn.group.header",
                    "--server.websocket.conn.group.default",
                    "--server.websocket.conn.group.query",
                    "--server.websocket.conn.group.cookie",
                },
            ),
            ("raccoon server --log.format=", {"text", "json"}),
            ("raccoon demo --server.websocket.port 1 --publisher.type emb", {"embedded"}),
            ("raccoon demo --on", {"--once"}),
        ):
            place = str(len(words.split()) - 1)
            status, output = self.run_command(_RACCOON_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=place)
            self.assertEqual((status, {line.partition(",")[2] for line in output.split()}), (0, completed))


class ConfigTests(Case):
    def test_check(self) -> None:
        """A good configuration is said to be valid, after what the operator should know."""
        self.assertEqual(self.run_command("config", "check", *MINIMAL), (0, "configuration is valid\n"))
        status, output = self.run_command("config", "check", *MINIMAL, "--server.rate.limit.burst=2")
        burst = "SERVER_RATE_LIMIT_BURST (--server.rate.limit.burst)"
        rate = "SERVER_RATE_LIMIT_EVENTS_PER_SECOND (--server.rate.limit.events.per.second)"
        self.assertEqual(
            (status, output.splitlines()),
            (0, [f"warning: {burst} has no effect without {rate}", "configuration is valid"]),
        )

    def test_mistakes(self) -> None:
        """All mistakes are reported, one on each line, on standard error, with status 1."""
        for command in (["config", "check"], ["config", "print"], ["server"]):
            self.patch(sys, "argv", ["raccoon", *command, "--server.websocket.port=x", "--event.ack", "3"])
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                self.assertEqual(self.assertRaises(SystemExit, main).code, 1)
            self.assertEqual(out.getvalue(), "")
            lines = err.getvalue().splitlines()
            self.assertEqual(len(lines), 4)
            self.assertTrue(all(line.startswith("error: ") for line in lines))
            self.assertIn(
                "error: SERVER_WEBSOCKET_CONN_ID_HEADER (--server.websocket.conn.id.header) is required", lines
            )

    def test_nothing_set(self) -> None:
        """Who starts a server without any setting is told what can be started without one."""
        status, output = self.run_command("server")
        self.assertEqual(status, 1)
        self.assertIn("\nhint: `raccoon demo` needs no settings; ", output)

    def test_print(self) -> None:
        """Every setting is printed with its source, in a form that can be used as a file."""
        with open("config.yaml", "w") as file:
            file.write("server: {grpc: {port: 7}}")
        status, output = self.run_command("config", "print", *MINIMAL, SERVER_MAX_EVENTS="8")
        self.assertEqual(status, 0)
        for line in ("port: 7  # file", "max_events: 8  # environment", "type: log  # flag", "level: info  # default"):
            self.assertIn(f" {line}\n", output)
        with open("again.yaml", "w") as file:
            file.write(output)
        self.assertEqual(set(read_file("again.yaml", Path.cwd())), {key.name for key in KEYS})

    def test_secrets(self) -> None:
        """Secrets are masked."""
        argv = ["--publisher.kafka.client.sasl.password=hunter2", "--publisher.pubsub.credentials", "hunter2"]
        status, output = self.run_command("config", "print", *MINIMAL, *argv)
        self.assertEqual(status, 0)
        self.assertIn("sasl_password: '***'  # flag\n", output)
        self.assertNotIn("hunter2", output)


class StockTests(SynchronousTestCase):
    def test_stock(self) -> None:
        """``python -m tests.stock``, which closes the fast lanes, is the same command."""
        # In a process of its own: it changes what the others stand in for.
        asked = [sys.executable, "-m", "tests.stock", "version"]
        ended = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn(__version__, ended.stdout)


class RunTests(Case):
    def test_server(self) -> None:
        """The status of the server is that of the command."""
        for status in (0, 2, 3):
            calls = self.stand_in("raccoon_tx.runner", status)
            self.assertEqual(self.run_command("server", *MINIMAL)[0], status)
            ((loaded,),) = calls
            self.assertIsInstance(loaded, Loaded)
            self.assertEqual(loaded.settings.publisher, "log")

    def test_demo(self) -> None:
        """The demo needs no settings, and takes any."""
        calls = self.stand_in("raccoon_tx.demo", 0)
        self.assertEqual(self.run_command("demo"), (0, ""))
        self.assertEqual(self.run_command("demo", "--once", "--event.ack=1")[0], 0)
        (first, once), (second, twice) = calls
        self.assertEqual((once, twice), (False, True))
        self.assertEqual((first.settings.publisher, first.settings.identity.id_header), ("embedded", "X-User-ID"))
        self.assertEqual((first.settings.ack, second.settings.ack), (0, 1))
        self.assertEqual(first.warnings, [])

    def test_demo_with_settings(self) -> None:
        """The file in the working directory goes over what the demo would choose."""
        with open("config.yaml", "w") as file:
            file.write("server: {websocket: {conn: {id_header: X-Mine}}}")
        calls = self.stand_in("raccoon_tx.demo", 1)
        self.assertEqual(self.run_command("demo", PUBLISHER_TYPE="log")[0], 1)
        ((loaded, _),) = calls
        self.assertEqual((loaded.settings.publisher, loaded.settings.identity.id_header), ("log", "X-Mine"))
