"""What several settings say together: mistakes and warnings beyond each single value. Plain data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from attrs import define, field

from raccoon_tx.config.certificates import check_certificates
from raccoon_tx.config.keys import BY_NAME
from raccoon_tx.config.kinds import Value, is_topic, shown
from raccoon_tx.model import Ack
from raccoon_tx.settings import LONGEST_AGE

_PORTS = ("server.websocket.port", "server.grpc.port", "metric.prometheus.port", "server.status.port")


def _title(name: str) -> str:
    return BY_NAME[name].title


@define
class Together:
    """:ivar values: of every key, by its name in the file."""

    _values: Mapping[str, Value]
    mistakes: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)

    def check(self) -> None:
        """Fill `mistakes` and `warnings`."""
        self._pings()
        self._ports()
        self._cors()
        self._tls()
        self._events()
        self._spool()
        if self._on("metric.prometheus.enabled") and self._on("metric.statsd.enabled"):
            one, other = _title("metric.prometheus.enabled"), _title("metric.statsd.enabled")
            self.warnings.append(f"{one} and {other}: both exporters run, where raystack/raccoon would start neither")
        if self._on("server.cors.refuse_disallowed"):
            self._needs("server.cors.refuse_disallowed", "server.cors.enabled")
        if self._values["server.batch.dedup_scope"] != "connection":
            self._needs("server.batch.dedup_scope", "server.batch.dedup_in_connection_enabled")
        if self._on("server.grpc.reflection") and find_spec("grpc_reflection") is None:
            title = _title("server.grpc.reflection")
            self.mistakes.append(f"{title}: needs the package grpcio-reflection, which is not installed")
        if self._values["server.rate_limit.burst"]:
            self._needs("server.rate_limit.burst", "server.rate_limit.events_per_second")

    def _on(self, name: str) -> bool:
        return bool(self._values[name])

    def _list(self, name: str) -> tuple[str, ...]:
        value = self._values[name]
        return value if isinstance(value, tuple) else ()

    def _needs(self, name: str, other: str) -> None:
        if not self._on(other):
            self.warnings.append(f"{_title(name)} has no effect without {_title(other)}")

    def _pings(self) -> None:
        interval, wait = "server.websocket.ping_interval_ms", "server.websocket.pong_wait_interval_ms"
        ping, pong = self._values[interval], self._values[wait]
        if isinstance(ping, int) and isinstance(pong, int) and pong <= ping:
            self.warnings.append(
                f"{_title(wait)} is {pong}, which should be more than {_title(interval)}, {ping}: "
                "a connection may be dropped before it was pinged"
            )

    def _ports(self) -> None:
        taken: dict[Value, str] = {}
        for name in _PORTS:
            port = self._values[name]
            if not port or (name.startswith("metric.") and not self._on("metric.prometheus.enabled")):
                continue
            if port in taken:
                self.mistakes.append(f"{_title(name)}: {port} is the port of {_title(taken[port])} already")
            taken.setdefault(port, name)

    def _cors(self) -> None:
        if not self._on("server.cors.enabled"):
            return
        origins = "server.cors.allowed_origin"
        if not self._on(origins):
            self.warnings.append(
                f"{_title('server.cors.enabled')} allows nobody without {_title(origins)}; * stands for all sites"
            )
        if "*" in self._list(origins) and self._on("server.cors.allow_credentials"):
            self.mistakes.append(
                f"{_title('server.cors.allow_credentials')}: cookies cannot be allowed together with * in "
                f"{_title(origins)}: name the sites"
            )
        age = self._values["server.cors.preflight_max_age_seconds"]
        if isinstance(age, int) and age > LONGEST_AGE:
            self.warnings.append(
                f"{_title('server.cors.preflight_max_age_seconds')}: {age} is more than {LONGEST_AGE}, "
                f"which is what browsers are told"
            )

    def _tls(self) -> None:
        before = len(self.mistakes)
        certificate, key = "server.tls.certificate", "server.tls.private_key"
        for name in (certificate, key, "server.tls.client_ca"):
            path = self._values[name]
            if path and not os.access(str(path), os.R_OK):
                self.mistakes.append(f"{_title(name)}: the file {shown(str(path))} does not exist or cannot be read")
        for name, other in ((certificate, key), (key, certificate), ("server.tls.client_ca", certificate)):
            if self._on(name) and not self._on(other):
                self.mistakes.append(f"{_title(other)} is required, because {_title(name)} is set")
        if self._on(certificate) and len(self.mistakes) == before:
            paths = (str(self._values[name] or "") for name in (certificate, key, "server.tls.client_ca"))
            for word, problem in check_certificates(*paths):
                name = f"server.tls.{word}"
                self.mistakes.append(f"{_title(name)}: the file {shown(str(self._values[name]))} {problem}")

    def _events(self) -> None:
        pattern = str(self._values["event.distribution_publisher_pattern"])
        for kind in self._illegal(pattern):
            self.mistakes.append(f"{_title('event.allowed_types')}: {shown(kind)} cannot be part of a topic's name")

    def _spool(self) -> None:
        if self._on("spool.path"):
            return
        if self._values["event.ack"] == Ack.DURABLE:
            self.mistakes.append(
                f"{_title('event.ack')}: 2, durable, needs a folder for the disk spool in {_title('spool.path')}"
            )
        for name in ("spool.max_bytes", "spool.min_free_bytes"):
            if self._values[name] != BY_NAME[name].default:
                self._needs(name, "spool.path")

    def _illegal(self, pattern: str) -> Iterator[str]:
        if "%s" in pattern:
            for kind in self._list("event.allowed_types"):
                if not is_topic(pattern.replace("%s", kind, 1)):
                    yield kind
