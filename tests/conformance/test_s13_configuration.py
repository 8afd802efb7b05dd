"""Section 13: configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.conformance.keys import KEYS
from tests.conformance.server import Command

NEEDED = {
    "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
    "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "localhost:9092",
}
NEEDED_IN_FILE = """
server: {websocket: {conn: {id_header: X-User-ID}}}
publisher: {kafka: {client: {bootstrap_servers: "localhost:9092"}}}
"""

NAMES = [name for name, _, _ in KEYS]
EVERY_KEY = pytest.mark.parametrize("name", NAMES)


def env(name: str) -> str:
    return name.replace(".", "_").upper()


def flag(name: str) -> str:
    return f"--{name.replace('_', '.')}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def printed(program: Command, *arguments: str, **how: Any) -> dict[str, Any]:
    """What ``config print`` says."""
    run = program.run("config", "print", *arguments, **how)
    assert run.returncode == 0, run.stderr
    return flat(yaml.safe_load(run.stdout))


def mistakes(program: Command, environment: Mapping[str, str], *arguments: str, **how: Any) -> str:
    """What is said of a configuration that is refused."""
    run = program.run("config", "check", *arguments, environment=environment, **how)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    return run.stderr


def warnings(program: Command, environment: Mapping[str, str], *arguments: str, **how: Any) -> str:
    """What is said of one that is not."""
    run = program.run("config", "check", *arguments, environment=environment, **how)
    assert run.returncode == 0, run.stderr
    return run.stderr


#: Values of a key that are not its default, where the type alone does not make one.
OTHER = {
    "event.ack": "1",
    "event.distribution_publisher_pattern": "x-%s",
    "event.allowed_types": "a,b",
    "event.dead_letter_topic": "dead",
    "event.partition_key": "guid",
    "event.record_headers": "guid,type",
    "event.timestamp": "receive",
    "log.format": "json",
    "log.level": "warn",
    "metric.prometheus.path": "/x",
    "metric.statsd.address": "localhost:9999",
    "publisher.type": "log",
    "publisher.kinesis.stream_mode": "PROVISIONED",
    "server.batch.dedup_scope": "identity",
    "server.cors.allowed_methods": "GET,PUT",
    "server.cors.allowed_origin": "http://a,http://b",
    "server.cors.allowed_headers": "X-A,X-B",
    "server.cors.preflight_max_age_seconds": "60",
    "server.host": "127.0.0.1",
    "server.grpc.host": "127.0.0.1",
    "server.grpc.port": "1234",
    "metric.prometheus.host": "127.0.0.1",
    "server.websocket.port": "1235",
    "server.status.host": "::1",
    "server.websocket.duplicate_policy": "probe",
    "server.websocket.pong_wait_interval_ms": "90000",
    "publisher.flush_interval_ms": "7",
    "server.tls.certificate": "",
    "server.tls.private_key": "",
    "server.tls.client_ca": "",
}


def other(name: str, kind: str, default: str) -> str:
    """A value that is not the default."""
    if name in OTHER:
        return OTHER[name]
    if kind == "bool":
        return "false" if default == "true" else "true"
    if kind == "int":
        return str(int(default) + 1)
    return f"x-{name.rsplit('.', 1)[-1].replace('_', '-')}"


VALUES = {name: other(name, kind, default) for name, kind, default in KEYS}
KINDS = {name: kind for name, kind, _ in KEYS}


def same(name: str, value: Any, text: str) -> bool:
    """Whether a printed value is what was written."""
    if KINDS[name] == "list":
        return list(value) == (text.split(",") if text else [])
    if KINDS[name] == "bool":
        return value is (text == "true")
    return str(value) == text or (value is None and text == "") or "*" in str(value)


@pytest.fixture(scope="module")
def defaults(program: Command) -> dict[str, Any]:
    return printed(program, environment=NEEDED)


@pytest.fixture(scope="module")
def by_environment(program: Command) -> dict[str, Any]:
    return printed(program, environment={**NEEDED, **{env(name): value for name, value in VALUES.items()}})


@pytest.fixture(scope="module")
def by_flags(program: Command) -> dict[str, Any]:
    """Over an environment that says something else."""
    flags = [f"{flag(name)}={value}" for name, value in VALUES.items()]
    plain = {env(name): default for name, _, default in KEYS if default and default != "as measured"}
    return printed(program, *flags, environment={**plain, **NEEDED})


@pytest.fixture(scope="module")
def by_file(program: Command) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in [*VALUES.items(), ("publisher.kafka.client.bootstrap_servers", "localhost:9092")]:
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value.split(",") if KINDS.get(name) == "list" else yaml.safe_load(value) if value else value
    return printed(program, files={"config.yaml": yaml.safe_dump(tree)})


@EVERY_KEY
def test_s13_2_default(defaults: dict[str, Any], name: str) -> None:
    """Every default is the contract's."""
    default = next(default for key, _, default in KEYS if key == name)
    if name == "server.websocket.conn.id_header":
        assert defaults[name] == "X-User-ID"
    elif default == "as measured":
        assert defaults[name] >= 1
    else:
        assert same(name, defaults[name], default)


@EVERY_KEY
def test_s13_2_environment(by_environment: dict[str, Any], name: str) -> None:
    """Every key is read from the environment."""
    assert same(name, by_environment[name], VALUES[name])


@EVERY_KEY
def test_s13_2_flag(by_flags: dict[str, Any], name: str) -> None:
    """Every key has a flag, and it counts more than the environment."""
    assert same(name, by_flags[name], VALUES[name])


@EVERY_KEY
def test_s13_2_file(by_file: dict[str, Any], name: str) -> None:
    """Every key is read from the file."""
    assert same(name, by_file[name], VALUES[name])


#: Counts that may be 0.
ZERO = {
    name
    for name, kind, default in KEYS
    if kind == "int" and (default == "0" or name in ("server.drain_window_ms", "spool.min_free_bytes"))
}
BAD = {
    **{name: "x" for name, kind, _ in KEYS if kind in ("int", "bool")},
    "server.grpc.port": "65536",
    "server.websocket.port": "-1",
    "metric.prometheus.port": "1e3",
    "event.distribution_publisher_pattern": "%s%s",
    "event.dead_letter_topic": "a b",
    "event.partition_key": "x",
    "event.record_headers": "guid,x",
    "event.timestamp": "x",
    "log.format": "x",
    "log.level": "loud",
    "server.batch.dedup_scope": "x",
    "server.websocket.duplicate_policy": "x",
    "server.websocket.conn.id_header": "X User",
    "metric.prometheus.path": "x",
    "metric.statsd.address": "x:y",
    "publisher.kinesis.stream_mode": "x",
    "publisher.type": "x",
}


@pytest.fixture(scope="module")
def bad(program: Command) -> str:
    return mistakes(program, {**NEEDED, **{env(name): value for name, value in BAD.items()}})


@pytest.mark.parametrize("name", BAD)
def test_s13_1_bad_value(bad: str, name: str) -> None:
    """Bad values are reported together, each under its names."""
    assert f"{env(name)} ({flag(name)})" in bad


@pytest.fixture(scope="module")
def negative(program: Command) -> str:
    counts = {env(name): "-1" for name, kind, _ in KEYS if kind == "int"}
    return mistakes(program, {**NEEDED, **counts})


@pytest.mark.parametrize("name", [name for name, kind, _ in KEYS if kind == "int"])
def test_s13_1_negative(negative: str, name: str) -> None:
    """No number is below 0."""
    assert f"{env(name)} ({flag(name)})" in negative


@pytest.fixture(scope="module")
def zero(program: Command) -> str:
    counts = {env(name): "0" for name, kind, _ in KEYS if kind == "int"}
    return mistakes(program, {**NEEDED, **counts})


@pytest.mark.parametrize(
    "name", [name for name, kind, _ in KEYS if kind == "int" and name not in ZERO and not name.endswith("port")]
)
def test_s13_1_zero(zero: str, name: str) -> None:
    """And none is 0 that has no meaning for it."""
    assert f"{env(name)} ({flag(name)})" in zero


@pytest.mark.parametrize("name", sorted(ZERO - {"publisher.pubsub.topic_retention_ms"}))
def test_s13_1_zero_with_a_meaning(zero: str, name: str) -> None:
    """Others may be 0."""
    assert f"{env(name)} ({flag(name)})" not in zero


@pytest.mark.parametrize("missing", NEEDED)
def test_s13_1_required(program: Command, missing: str) -> None:
    """What is required is asked for by its names."""
    said = mistakes(program, {name: value for name, value in NEEDED.items() if name != missing})
    names = {
        "SERVER_WEBSOCKET_CONN_ID_HEADER": "--server.websocket.conn.id.header",
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "--publisher.kafka.client.bootstrap.servers",
    }
    assert f"{missing} ({names[missing]}) is required" in said


def test_s13_1_together(program: Command) -> None:
    """All that is missing is said at once."""
    said = mistakes(program, {})
    assert all(name in said for name in NEEDED)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True", "yes", "on"])
def test_s13_1_true(program: Command, text: str) -> None:
    """A truth may be written so."""
    assert printed(program, environment={**NEEDED, "SERVER_REQUIRE_ID": text})["server.require_id"] is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False", "no", "off"])
def test_s13_1_false(program: Command, text: str) -> None:
    """And a falsehood so."""
    found = printed(program, environment={**NEEDED, "SERVER_WEBSOCKET_CHECK_ORIGIN": text})
    assert found["server.websocket.check_origin"] is False


@pytest.mark.parametrize("text", ["2", "ja", "none", "truth"])
def test_s13_1_no_truth(program: Command, text: str) -> None:
    """Nothing else is one."""
    assert "SERVER_REQUIRE_ID (--server.require.id)" in mistakes(program, {**NEEDED, "SERVER_REQUIRE_ID": text})


def test_s13_1_lists_are_trimmed(program: Command) -> None:
    """Spaces around the entries of a list are nothing."""
    found = printed(program, environment={**NEEDED, "EVENT_ALLOWED_TYPES": " a , b,c "})
    assert found["event.allowed_types"] == ["a", "b", "c"]


def test_s13_1_precedence(program: Command) -> None:
    """Flags count more than the environment, and that more than the file."""
    file = {"config.yaml": NEEDED_IN_FILE + "worker: {pool_size: 7}\nlog: {level: error}\nevent: {max_topics: 5}\n"}
    environment = {"LOG_LEVEL": "warn", "EVENT_MAX_TOPICS": "6"}
    found = printed(program, "--event.max.topics", "8", environment=environment, files=file)
    assert (found["worker.pool_size"], found["log.level"], found["event.max_topics"]) == (7, "warn", 8)


@pytest.mark.parametrize("argument", ["-c", "--config"])
def test_s13_1_named_file(program: Command, argument: str) -> None:
    """A file may be named."""
    found = printed(program, argument, "other.yaml", files={"other.yaml": NEEDED_IN_FILE + "worker: {pool_size: 7}"})
    assert found["worker.pool_size"] == 7


def test_s13_1_named_file_missing(program: Command) -> None:
    """If it is missing, that is an error."""
    assert "other.yaml" in mistakes(program, NEEDED, "--config", "other.yaml")


def test_s13_1_no_file(program: Command) -> None:
    """If there is none and none was named, that is none."""
    assert "error" not in warnings(program, NEEDED)


@pytest.mark.parametrize("text", ["server: [", "- a\n- b\n", "\x00", "a: b: c"])
def test_s13_1_malformed_file(program: Command, text: str) -> None:
    """A file that is none is an error."""
    assert "config.yaml" in mistakes(program, NEEDED, files={"config.yaml": text})


def test_s13_1_unknown_key(program: Command) -> None:
    """An unknown key is warned of, with the nearest that is known."""
    said = warnings(program, NEEDED, files={"config.yaml": "server: {websocket: {max_con: 5}}"})
    assert "server.websocket.max_con" in said
    assert "server.websocket.max_conn" in said


@pytest.mark.parametrize("port", ["0", "1", "65535"])
def test_s13_1_ports(program: Command, port: str) -> None:
    """Ports have a range; 0 is any."""
    assert printed(program, environment={**NEEDED, "SERVER_WEBSOCKET_PORT": port})["server.websocket.port"] == int(port)


# 13.3


@pytest.mark.parametrize("source", ["environment", "flag", "file"])
def test_s13_3_property(program: Command, source: str) -> None:
    """A property of Kafka's client has its three names."""
    environment, flags, file = dict(NEEDED), [], "{}"
    if source == "environment":
        environment["PUBLISHER_KAFKA_CLIENT_MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION"] = "7"
    elif source == "flag":
        flags = ["--publisher.kafka.client.max.in.flight.requests.per.connection", "7"]
    else:
        file = "publisher: {kafka: {client: {max_in_flight_requests_per_connection: 7}}}"
    found = printed(program, *flags, environment=environment, files={"config.yaml": file})
    assert str(found["publisher.kafka.client.max_in_flight_requests_per_connection"]) == "7"


#: Not in the reference's list.
@pytest.mark.parametrize("name", ["socket.max.fails", "client.dns.lookup", "retry.backoff.max.ms", "linger.ms"])
def test_s13_3_any_property(program: Command, name: str) -> None:
    """Any property may be given."""
    values = {"client.dns.lookup": "use_all_dns_ips"}
    variable = "PUBLISHER_KAFKA_CLIENT_" + name.replace(".", "_").upper()
    warnings(program, {**NEEDED, variable: values.get(name, "100")})


@pytest.mark.parametrize(
    ("name", "value"), [("linger.mss", "1"), ("linger.ms", "x"), ("acks", "many"), ("no.such", "1")]
)
def test_s13_3_bad_property(program: Command, name: str, value: str) -> None:
    """A property that the client does not know, or refuses, is named."""
    variable = "PUBLISHER_KAFKA_CLIENT_" + name.replace(".", "_").upper()
    run = program.run("config", "check", environment={**NEEDED, variable: value})
    assert run.returncode == 1
    assert name in run.stderr.lower().replace("_", ".")


ALIASES = {
    "acks": "request.required.acks",
    "retries": "message.send.max.retries",
    "linger.ms": "queue.buffering.max.ms",
    "compression.codec": "compression.type",
    "delivery.timeout.ms": "message.timeout.ms",
    "sasl.mechanism": "sasl.mechanisms",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "bootstrap.servers": "metadata.broker.list",
}
ALIAS_VALUES = {
    "compression.codec": ("gzip", "lz4"),
    "sasl.mechanism": ("PLAIN", "GSSAPI"),
    "bootstrap.servers": ("a:1", "b:1"),
    "acks": ("1", "-1"),
}


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "different"])
@pytest.mark.parametrize("name", ALIASES)
def test_s13_3_aliases(program: Command, name: str, equal: bool) -> None:
    """Two names of one property must not say two things."""
    one, two = ALIAS_VALUES.get(name, ("1000", "2000"))
    environment = {
        **NEEDED,
        "PUBLISHER_KAFKA_CLIENT_" + name.replace(".", "_").upper(): one,
        "PUBLISHER_KAFKA_CLIENT_" + ALIASES[name].replace(".", "_").upper(): one if equal else two,
    }
    if equal:
        warnings(program, environment)
    else:
        said = mistakes(program, environment)
        assert name in said.lower().replace("_", ".")
        assert ALIASES[name] in said.lower().replace("_", ".")


def test_s13_3_broker_list_is_bootstrap_servers(program: Command) -> None:
    """The alias of a required property satisfies."""
    warnings(
        program, {"SERVER_WEBSOCKET_CONN_ID_HEADER": "X", "PUBLISHER_KAFKA_CLIENT_METADATA_BROKER_LIST": "localhost:1"}
    )


SECRETS = [
    "PUBLISHER_KAFKA_CLIENT_SASL_PASSWORD",
    "PUBLISHER_KAFKA_CLIENT_SSL_KEY_PASSWORD",
    "PUBLISHER_KAFKA_CLIENT_SSL_KEYSTORE_PASSWORD",
    "PUBLISHER_KAFKA_CLIENT_SSL_KEY_PEM",
    "PUBLISHER_KAFKA_CLIENT_SASL_OAUTHBEARER_CLIENT_SECRET",
    "PUBLISHER_KAFKA_CLIENT_SASL_OAUTHBEARER_CONFIG",
]


@pytest.mark.parametrize("name", SECRETS)
def test_s13_3_masked(program: Command, name: str) -> None:
    """A secret is not printed."""
    run = program.run("config", "print", environment={**NEEDED, name: "geheim"})
    assert "geheim" not in run.stdout + run.stderr


def test_s13_3_masked_in_errors(program: Command) -> None:
    """Nor in an error."""
    settings = {**NEEDED, "PUBLISHER_KAFKA_CLIENT_SASL_PASSWORDS": "geheim", "EVENT_ACK": "7"}
    assert "geheim" not in mistakes(program, settings)


# 13.4

SAMPLE = """
server:
  websocket:
    conn: {id_header: X-User-ID}
    pong_wait_interval: 60000
    write_wait_interval: 5000
  cors: {enabled: true, allowed_origins: ["http://localhost:3000"]}
publisher: {kafka: {client: {bootstrap_servers: "localhost:9092"}}}
metric:
  statsd: {enabled: true}
  prometheus: {enabled: true}
"""

SAMPLE_MISTAKES = {
    "server.websocket.pong_wait_interval": "server.websocket.pong_wait_interval_ms",
    "server.websocket.write_wait_interval": "server.websocket.write_wait_interval_ms",
    "server.cors.allowed_origins": "server.cors.allowed_origin",
}


@pytest.mark.parametrize("mistake", SAMPLE_MISTAKES)
def test_s13_4_sample(program: Command, mistake: str) -> None:
    """The mistakes of the reference's sample are named, with what was meant."""
    said = warnings(program, {}, files={"config.yaml": SAMPLE})
    assert re.search(rf"{re.escape(mistake)}\b(?!_)", said)
    assert SAMPLE_MISTAKES[mistake] in said


def test_s13_4_both_exporters(program: Command) -> None:
    """Both exporters are well together; that is said, since elsewhere it meant none."""
    said = warnings(program, {}, files={"config.yaml": SAMPLE})
    assert "metric" in said.lower()
    assert "prometheus" in said.lower()


def test_s13_4_older_name(program: Command) -> None:
    """The older name of the id header is taken, with a warning."""
    environment = {
        "SERVER_WEBSOCKET_CONN_UNIQ_ID_HEADER": "X-Old",
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "localhost:9092",
    }
    said = warnings(program, environment)
    assert "SERVER_WEBSOCKET_CONN_UNIQ_ID_HEADER" in said
    assert "SERVER_WEBSOCKET_CONN_ID_HEADER" in said
    assert printed(program, environment=environment)["server.websocket.conn.id_header"] == "X-Old"


def test_s13_4_delivery_channel(program: Command) -> None:
    """Both names of a size without effect are taken."""
    names = ("WORKER_KAFKA_DELIVERY_CHANNEL_SIZE", "PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE")
    warnings(program, {**NEEDED, **dict.fromkeys(names, "20")})


def test_s13_4_no_env_file(program: Command) -> None:
    """A ``.env`` file is not read."""
    text = "\n".join(f"{name}={value}" for name, value in NEEDED.items())
    assert "is required" in mistakes(program, {}, files={".env": text})


@pytest.mark.parametrize("settings", [("10000", "10000"), ("30000", "20000")])
def test_s13_2_pong_wait(program: Command, settings: tuple[str, str]) -> None:
    """A pong wait that is not longer than the ping interval is warned of."""
    ping, pong = settings
    environment = {"SERVER_WEBSOCKET_PING_INTERVAL_MS": ping, "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS": pong}
    assert "PONG_WAIT" in warnings(program, {**NEEDED, **environment}).upper()


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "fatal", "panic"])
def test_s13_2_log_level(program: Command, level: str) -> None:
    """These are the levels."""
    warnings(program, {**NEEDED, "LOG_LEVEL": level})
