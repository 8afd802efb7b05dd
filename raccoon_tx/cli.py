"""The ``raccoon`` command (contract section 14).

Exit status: 0 after an orderly end, 1 for a mistake in the command line or the configuration, 2 if the server cannot
start, 3 if it had to give up events.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from raccoon_tx._version import __version__
from raccoon_tx.config.flags import Flags, describe, help_rows, nearest, parse_flags
from raccoon_tx.config.keys import KEYS, Key
from raccoon_tx.config.kinds import BOOL
from raccoon_tx.tools.commands import TOOLS

# What a command alone needs is imported within it: most of them should answer at once.
if TYPE_CHECKING:
    from raccoon_tx.config import Loaded

#: For what `raccoon demo` needs and nobody has said.
DEMO_DEFAULTS = {
    "publisher.type": "embedded",
    "server.websocket.conn.id_header": "X-User-ID",
    "server.websocket.conn.group_header": "X-User-Group",
    "metric.prometheus.enabled": "true",
}


class _Commands(click.Group):
    """Shows its help if it is given nothing to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invoke_without_command = True
        self.no_args_is_help = False

    def invoke(self, ctx: click.Context) -> Any:
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return result

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            close = nearest(name, self.commands)
            hint = f" (did you mean {close}?)" if close else ""
            ctx.fail(f"unknown command: {name}{hint}")
        return super().resolve_command(ctx, args)


class _Program(_Commands):
    """Ends the process with what its command returns, and with 1, not Click's 2, if the command line is wrong."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
        except click.ClickException as mistake:
            _complain("error", [mistake.format_message()])
            status = 1
        except click.Abort:
            status = 1
        sys.exit(status if isinstance(status, int) else 0)


class _Flagged(click.Command):
    """Takes the flags of the server as `parse_flags` reads them; Click's own options serve completion only.

    :ivar switches: flags of this command alone, with their help.
    """

    def __init__(self, *args: Any, switches: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.switches = switches or {}
        self.params += [click.Option([f"--{name}"], is_flag=True, help=text) for name, text in self.switches.items()]
        self.params += [click.Option(["-c", "--config"], type=click.Path(), help="YAML file with settings")]
        self.params += map(_option, KEYS)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = []
        if not ctx.resilient_parsing:
            ctx.obj = parse_flags(args, self.switches)
            if ctx.obj.help:
                click.echo(ctx.get_help())
                ctx.exit()
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in help_rows(self.switches):
            with formatter.section(title):
                formatter.write_dl(rows)


def _option(key: Key) -> click.Option:
    return click.Option(
        [f"--{key.flag}", key.name.replace(".", "_")],
        type=click.Choice(key.kind.choices) if key.kind.choices else str,
        is_flag=key.kind is BOOL,
        help=describe(key),
    )


@click.group("raccoon", cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="raccoon_tx %(version)s")
def cli() -> None:
    """Take events in over WebSocket, REST and gRPC, and deliver them to Kafka."""


@cli.command("server", cls=_Flagged)
@click.pass_obj
def server(flags: Flags) -> int:
    """Run the server."""
    # What is loaded from here on stays: a fifth of the start would go into looking for garbage in it. The runner ends
    # that.
    gc.disable()
    loaded = _load(flags)
    from raccoon_tx.runner import run

    return run(loaded)


@cli.command("demo", cls=_Flagged, switches={"once": "end after the round trip; status 1 if anything did not arrive"})
@click.pass_obj
def demo(flags: Flags) -> int:
    """Try everything out, with a Kafka inside this process.

    Starts the server, sends a few events over each transport, shows what then stands in which topic, and goes on
    serving.
    """
    loaded = _load(flags, DEMO_DEFAULTS)
    from raccoon_tx.demo import run

    return run(loaded, "once" in flags.switches)


@cli.command("bench")
@click.option("--to", metavar="URL", help="server: ws://, wss://, http://, https://, grpc:// or grpcs://HOST:PORT")
@click.option(
    "--transport",
    type=click.Choice(["websocket", "rest", "grpc"]),
    default="websocket",
    show_default=True,
    help="of the server that is started",
)
@click.option("--ack", type=click.IntRange(0, 1), default=1, show_default=True, help="of the server that is started")
@click.option("--connections", type=click.IntRange(1, 50_000), default=50, show_default=True, help="opened at first")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1_000),
    default=1,
    show_default=True,
    help="most unanswered batches of a connection; REST has one",
)
@click.option("--batch", type=click.IntRange(1, 100_000), default=10, show_default=True, help="events in a batch")
@click.option("--size", type=click.IntRange(0, 10_000_000), default=100, show_default=True, help="bytes of an event")
@click.option("--type", "kind", default="bench", show_default=True, help="type of the events; it decides the topic")
@click.option(
    "--format", "format_", type=click.Choice(["protobuf", "json"]), default="protobuf", show_default=True, help="format"
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10, show_default=True, help="how long")
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000_000),
    default=0,
    help="events per second, whatever the answers do; without it as fast as answers come",
)
@click.option("--id-header", default="X-User-ID", show_default=True, help="header that carries a client's id")
@click.option("--ca", type=click.Path(dir_okay=False), help="PEM file with certificates to trust")
@click.option("--json", "as_json", is_flag=True, help="print the results as JSON")
def bench(
    to: str | None,
    transport: str,
    ack: int,
    connections: int,
    in_flight: int,
    batch: int,
    size: int,
    kind: str,
    format_: str,
    seconds: float,
    rate: float,
    id_header: str,
    ca: str | None,
    as_json: bool,
) -> int:
    """Send a load to a server, and see what it takes and how fast.

    Without --to a server of its own is started, with a Kafka inside it. With --rate, the time that an answer took is
    counted from when its batch should have been sent. The status is 1 if anything was refused or not answered.

    The events are real: a server writes them to its Kafka.
    """
    from raccoon_tx.bench import CannotMeasure, Order, run
    from raccoon_tx.bench.address import NoAddress, read_address

    try:
        address = None if to is None else read_address(to)
        order = Order(
            address=address,
            transport=transport if address is None else address.transport,
            ack=ack,
            connections=connections,
            depth=in_flight,
            events=batch,
            size=size,
            kind=kind,
            format=format_,
            seconds=seconds,
            rate=rate,
            id_header=id_header,
            ca=ca,
            as_json=as_json,
        )
        return run(order)
    except (NoAddress, CannotMeasure) as problem:
        raise click.ClickException(str(problem)) from None


for tool in TOOLS:
    cli.add_command(tool)


@cli.command("version")
def version() -> None:
    """Print the version."""
    click.echo(f"raccoon_tx {__version__}")


@cli.group("config", cls=_Commands)
def config() -> None:
    """Look at the configuration without running the server."""


@config.command("check", cls=_Flagged)
@click.pass_obj
def check(flags: Flags) -> None:
    """Say whether the server could run with it."""
    _complain("warning", _load(flags).warnings)
    click.echo("configuration is valid")


@config.command("print", cls=_Flagged)
@click.pass_obj
def print_(flags: Flags) -> None:
    """Print every setting, and where it comes from.

    The output has the form of a configuration file; secrets are masked.
    """
    loaded = _load(flags)
    from raccoon_tx.config.file import as_yaml

    _complain("warning", loaded.warnings)
    click.echo(as_yaml(loaded.values), nl=False)


@cli.group("spool", cls=_Commands)
def spool() -> None:
    """Look after the disk spool.

    status, list and export may be used while a server runs; drain, purge and revive are refused then.
    """


_path = click.option(
    "--spool.path",
    "path",
    envvar="SPOOL_PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="folder of the spool [also: SPOOL_PATH]",
)
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_dead = click.option("--dead", is_flag=True, help="the batches that were given up, not those that wait")


@spool.command("status")
@_path
@_json
def spool_status(path: Path, as_json: bool) -> None:
    """Print how much is in the spool."""
    from raccoon_tx.spool.tools import status

    figures = _of_spool(status, path)
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{name.replace('_', ' ')}: {'none' if shown in (None, '') else shown}")


@spool.command("list")
@_path
@_dead
@_json
def spool_list(path: Path, dead: bool, as_json: bool) -> None:
    """Print a line for each batch, oldest first."""
    from raccoon_tx.spool.tools import rows

    for row in _each_of_spool(rows, path, dead, False):
        if as_json:
            click.echo(json.dumps(row))
        else:
            what = row.get("damaged") or row.get("reason") or ""
            topics = ",".join(row.get("topics", ()))
            size = f"{row['events']} events, {row['bytes']} bytes, {row['age_seconds']:.0f} s old"
            click.echo(f"{row['id']}  {size}  {row.get('guid') or '-'}  {topics}  {what}".rstrip())


@spool.command("export")
@_path
@_dead
def spool_export(path: Path, dead: bool) -> None:
    """Print each batch with its events, as a line of JSON.

    Values, keys and headers are in base64. Nothing is taken out of the spool.
    """
    from raccoon_tx.spool.tools import rows

    for row in _each_of_spool(rows, path, dead, True):
        click.echo(json.dumps(row))


@spool.command("drain", cls=_Flagged)
@click.pass_obj
def spool_drain(flags: Flags) -> int:
    """Bring to Kafka what lies in the spool, and end.

    Takes the settings of the server, but opens no port. Status 3 if something is left.
    """
    loaded = _load(flags)
    if not loaded.settings.spool.path:
        raise click.ClickException("there is no spool: set SPOOL_PATH (--spool.path)")
    from raccoon_tx.spool_drain import run

    return run(loaded)


@spool.command("purge")
@_path
@_dead
@click.option("--yes", is_flag=True, help="really")
@_json
def spool_purge(path: Path, dead: bool, yes: bool, as_json: bool) -> None:
    """Forget what is in the spool, without delivering it."""
    if not yes:
        raise click.ClickException("this loses events: say --yes if that is meant")
    from raccoon_tx.spool.tools import purge

    _echo_count("forgotten", _of_spool(purge, path, dead), as_json)


@spool.command("revive")
@_path
@_json
def spool_revive(path: Path, as_json: bool) -> None:
    """Have the batches that were given up tried again."""
    from raccoon_tx.spool.tools import revive

    _echo_count("revived", _of_spool(revive, path), as_json)


def _echo_count(what: str, count: int, as_json: bool) -> None:
    click.echo(json.dumps({what: count}) if as_json else f"{count} batches {what}")


def _of_spool(call: Callable[..., Any], *arguments: Any) -> Any:
    """:raises click.ClickException: the spool cannot be used."""
    from raccoon_tx.spool.folder import Unusable

    try:
        return call(*arguments)
    except Unusable as problem:
        raise click.ClickException(str(problem)) from None


def _each_of_spool(call: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    rows = call(*arguments)
    while (row := _of_spool(next, rows, None)) is not None:
        yield row


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and flags in a shell.

    For example: source <(raccoon completion bash)
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "raccoon", "_RACCOON_COMPLETE").source())


@cli.command("help")
@click.argument("command", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of a command."""
    assert ctx.parent is not None
    of = ctx.parent
    for word in command:
        if not isinstance(of.command, _Commands):
            break
        name, found, _ = of.command.resolve_command(of, [word])
        assert found is not None
        of = click.Context(found, info_name=name, parent=of)
    click.echo(of.get_help())


@cli.command("reference")
@click.pass_context
def reference(ctx: click.Context) -> None:
    """Print the help of all commands."""
    assert ctx.parent is not None
    click.echo("\n\n".join(_helps(ctx.parent)))


def _helps(ctx: click.Context) -> Iterator[str]:
    yield ctx.get_help()
    command = ctx.command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from _helps(click.Context(found, info_name=name, parent=ctx))


def _load(flags: Flags, defaults: Mapping[str, str] | None = None) -> Loaded:
    from raccoon_tx.config import ConfigurationError, load_command_line

    try:
        return load_command_line(flags, os.environ, Path.cwd(), defaults)
    except ConfigurationError as error:
        _complain("error", error.mistakes)
        if all(mistake.endswith(" is required") for mistake in error.mistakes):
            _complain("hint", ["`raccoon demo` needs no settings; `raccoon server --help` explains them"])
        raise click.exceptions.Exit(1) from None


def _complain(kind: str, texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"{kind}: {text}", err=True)


def main() -> None:
    """The console script: ends the process with the status of section 14."""
    cli.main(prog_name="raccoon")
