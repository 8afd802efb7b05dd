"""The page of the documentation: words that stay, and the tables of one run."""

from __future__ import annotations

from typing import Any

import report

_BEGIN = """\
# Benchmarks

What a server costs, measured and not estimated. The tables on this page were written by

```sh
{command}
```

on {machine}. They are of one run of {rounds} rounds; figures are medians, with the least and the most in brackets.

## Measure your own

`raccoon bench` comes with raccoon_tx and needs nothing else. By itself it starts a server with a Kafka inside, and
sends it a load over WebSocket; `--to` names a server that runs:

```sh
raccoon bench
raccoon bench --to http://127.0.0.1:8080 --connections 100 --batch 10 --size 1000
raccoon bench --to grpc://127.0.0.1:8081 --rate 5000 --seconds 30
raccoon bench --to wss://events.example:443 --ca ca.pem --json
```

It prints how many events were accepted, what was refused and why, how soon the answers came, and how much of a core
it took itself: it is Python too, so when it says that it had no time left, the server can do more than it could ask
for. The events are real: a server writes them to its Kafka, into the topic of the type `bench` (`--type`).

## How these were measured

The server runs on one core, its metrics are on, and Kafka's `linger.ms` is 1. The load generator and the broker
share another core. The generator is a C program on epoll that speaks all three transports; it decodes every answer
and holds it against the request that it is to. `gen.` is the part of a core that it took: far below 1, so it is not
what is measured. The broker is the one inside librdkafka, in a process of its own: it costs little and there is no
network, so the times are the server's own and the linger.

CPU
: the processor time of the whole server process, all its threads, from the first request until the broker has every
  event, divided by the events.

Raw, and ratio
: machines differ and are never quite alone, so what counts is the ratio. *Raw* is what `Producer.produce()` alone
  costs in Python, in a process of its own on the same core, in the same round, with batches of the same size. For
  gRPC it is a `grpc.server` that answers every call with a constant.

Bad
: answers that could not be decoded, were to no request, or were no success; and events *found* in the topics against
  events *acknowledged* to the clients. A run in which these are not 0 and equal has failed, whatever its speed.

Closed loop
: 50 connections (gRPC: 8, with 8 calls each) that send the next batch when the last is answered. The times of such
  a run are those of a full server.

Open loop
: batches are sent at a fixed rate whatever the answers do, and an answer's time counts from when its batch *should*
  have been sent. `late ms` is the p99 of how late the generator itself was.

Names of cases are transport, events in a batch, and what is different from protobuf, 100 bytes and
{{setting}}`EVENT_ACK` 1.

## Figures
"""

_END = """
## Run it

```sh
python benchmarks/run.py --quick
python benchmarks/run.py --full --write docs/benchmarks.md
python benchmarks/run.py --case websocket-10 --case grpc-10 --rounds 5
python benchmarks/run.py --case paced-5k --brokers kafka-1:9092
```

in a clone, with raccoon_tx installed, two cores, Linux and a C compiler (Debian: `gcc` and `libc6-dev`); 10,000
connections need `ulimit -Hn` to be above 11,000. `--quick` takes about two minutes, `--full` about twelve. The
status is 1 if any answer was bad or an event is missing.

Another server that speaks the same wire format can be measured beside ours, on the same core, in the same rounds.
It gets its settings from the environment, by the names that raccoon_tx has them:

```sh
python benchmarks/run.py --quick --beside 'env WORKER_POOL_SIZE=500 ./raccoon server' --beside-name go
```

or runs already, writing to a Kafka that `--brokers` names, with events of type TYPE going to the topic TYPE:

```sh
python benchmarks/run.py --quick --brokers 127.0.0.1:9092 \\
  --beside-pid 4711 --beside-http 8080 --beside-grpc 8081
```
"""


def _markdown(table: report.Table) -> str:
    title, columns, rows = table
    lines = [f"### {title}", ""]
    for number, row in enumerate([columns, *rows]):
        lines.append("| " + " | ".join(row) + " |")
        if number == 0:
            lines.append("|" + " --- |" * len(columns))
    return "\n".join(lines)


def page(kept: dict[str, Any]) -> str:
    """All of it. :param kept: command, machine, rounds and results of a run."""
    tables = [_markdown(table) for table in report.tables(kept["results"])]
    begin = _BEGIN.replace("{{", "{").replace("}}", "}")
    for name in ("command", "machine", "rounds"):
        begin = begin.replace("{" + name + "}", str(kept[name]))
    return "\n".join([begin, report.quiet(kept["results"]), "", "\n\n".join(tables), _END])
