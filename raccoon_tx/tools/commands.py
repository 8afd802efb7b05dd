"""The tools as commands: what they take. What they do is imported when they do it."""

from __future__ import annotations

import os

import click


class _Tool(click.Command):
    """Says what is wrong in one sentence."""

    def invoke(self, ctx: click.Context) -> object:
        from raccoon_tx.bench.address import NoAddress
        from raccoon_tx.tools.look import Trouble

        try:
            return super().invoke(ctx)
        except (NoAddress, Trouble) as problem:
            raise click.ClickException(str(problem)) from None


@click.command("send", cls=_Tool)
@click.argument("events", metavar="[EVENT... | -]", nargs=-1)
@click.option("--type", "kind", required=True, metavar="TYPE", help="type of the events; it decides the topic")
@click.option(
    "--to",
    metavar="URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="server: http://, ws:// or grpc://HOST:PORT, with TLS https://, wss:// or grpcs://",
)
@click.option("-f", "--file", metavar="FILE", help="send each line of a file as an event")
@click.option("--id", "id_", metavar="ID", default="", help="id to send under; by default a new one")
@click.option("--group", metavar="GROUP", default="", help="group to send under")
@click.option(
    "--id-header",
    metavar="NAME",
    envvar="SERVER_WEBSOCKET_CONN_ID_HEADER",
    default="X-User-ID",
    show_default=True,
    help="header that carries the id",
)
@click.option(
    "--group-header",
    metavar="NAME",
    envvar="SERVER_WEBSOCKET_CONN_GROUP_HEADER",
    default="X-User-Group",
    show_default=True,
    help="header that carries the group",
)
@click.option("--batch", type=click.IntRange(1, 100_000), default=100, show_default=True, help="most events in a batch")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 100),
    default=4,
    show_default=True,
    help="most unanswered batches; with 1 the events keep their order",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="for a batch that may be accepted another time",
)
@click.option("--ca", type=click.Path(dir_okay=False), help="PEM file with certificates to trust")
@click.option("--json", "as_json", is_flag=True, help="print the summary as JSON")
def send(
    events: tuple[str, ...],
    kind: str,
    to: str,
    file: str | None,
    id_: str,
    group: str,
    id_header: str,
    group_header: str,
    batch: int,
    in_flight: int,
    attempts: int,
    ca: str | None,
    as_json: bool,
) -> int:
    """Send events to a server.

    Each EVENT is sent as it is; with --file, and with - for standard input, each line that is not blank. The status is
    1 if not everything was accepted. A batch that gets no answer, or one with code 3 or 4, is sent again under the same
    guid.
    """
    from raccoon_tx.bench.address import read_address
    from raccoon_tx.tools import send as tool

    if events and file is not None:
        raise click.UsageError("give either EVENTs or --file, not both")
    if not events and file is None:
        raise click.UsageError("no events: give some, or --file FILE, or - for standard input")
    if events == ("-",):
        events, file = (), "-"
    order = tool.Order(
        address=read_address(to),
        kind=kind,
        values=[os.fsencode(event) for event in events],
        file=file or "-",
        headers=tool.headers(id_header, id_, group_header, group),
        batch=batch,
        lanes=in_flight,
        attempts=attempts,
        ca=ca,
        as_json=as_json,
    )
    return tool.run(order)


@click.command("tail", cls=_Tool)
@click.option("--type", "kind", metavar="TYPE", help="of the events; the topic follows from it")
@click.option("--topic", metavar="TOPIC", help="to read; by default those of all types")
@click.option("--brokers", metavar="HOST:PORT", help="Kafka to read from; by default that of the server here")
@click.option("-n", "count", type=click.IntRange(1, 10_000), metavar="COUNT", help="end after so many records")
@click.option("--new", is_flag=True, help="leave out what is in the topics already")
@click.option("-c", "--config", "config_file", metavar="FILE", help="configuration of the server")
@click.option("--json", "as_json", is_flag=True, help="print each record as a line of JSON")
def tail(
    kind: str | None,
    topic: str | None,
    brokers: str | None,
    count: int | None,
    new: bool,
    config_file: str | None,
    as_json: bool,
) -> int:
    """Show what arrives in the topics.

    Begins with the last ten records that are there, or with the last COUNT, and goes on with those that come. Where
    Kafka is, and how to log in there, it reads where `raccoon server` does: in the environment and in config.yaml.
    Without a word there, it is the Kafka of the `raccoon demo`, or of the embedded publisher, that was started last.
    """
    if kind is not None and topic is not None:
        raise click.UsageError("give either --type or --topic, not both")
    from raccoon_tx.tools import tail as tool

    order = tool.Order(
        kind=kind, topic=topic, brokers=brokers, config_file=config_file, count=count, new=new, as_json=as_json
    )
    return tool.run(order)


@click.command("top", cls=_Tool)
@click.option(
    "--from",
    "url",
    metavar="URL",
    default="http://127.0.0.1:9090/metrics",
    show_default=True,
    help="where the server offers its metrics",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=2, show_default=True, help="between two looks at it"
)
@click.option("--once", is_flag=True, help="show one view and end, as where there is no terminal")
@click.option("--json", "as_json", is_flag=True, help="print one view as JSON and end")
def top(url: str, seconds: float, once: bool, as_json: bool) -> int:
    """Watch a running server.

    Shows events per second by group and type, connections, what waits, how long delivery takes, and what is refused and
    why. The server has to offer metrics to Prometheus: --metric.prometheus.enabled; the demo does.
    """
    from raccoon_tx.tools import top as tool

    if "://" not in url:
        url = f"http://{url}"
    if url.count("/") == 2:
        url += "/metrics"
    return tool.run(tool.Order(url=url, seconds=seconds, once=once, as_json=as_json))


TOOLS = [send, tail, top]
