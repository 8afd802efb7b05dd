"""What `deploy/` says, for the tests that hold it to what is true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
RUNBOOK = ROOT / "docs" / "operating" / "runbook"

#: Words of PromQL that look like names of metrics.
_WORDS = {"by", "without", "and", "or", "unless", "on", "ignoring", "group_left", "group_right", "offset", "bool"}
#: Labels that Prometheus adds.
OF_PROMETHEUS = {"job", "instance"}
#: Metrics that it makes itself.
ITS_OWN = {"up"}


@frozen
class Expression:
    """:ivar where: it stands. :ivar selectors: names of metrics, with the labels that are compared, and with what.
    :ivar grouped: labels after ``by``."""

    where: str
    text: str
    selectors: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
    grouped: frozenset[str]


def parsed(where: str, text: str) -> Expression:
    """What an expression asks for."""
    left = re.sub(r"\[[^\]]*\]", "", text)
    grouped: set[str] = set()
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", left):
        grouped |= {label.strip() for label in labels.split(",")}
    left = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", left)
    selectors = []
    for match in re.finditer(r"\b([a-zA-Z_:][\w:]*)\s*(\{[^}]*\}|\(|)", re.sub(r"offset\s+\w+", "", left)):
        name, after = match[1], match[2]
        if after == "(" or name in _WORDS or _within_braces(left, match.start()):
            continue
        labels = re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', after)
        selectors.append((name, tuple(labels)))
    return Expression(where, text, tuple(selectors), frozenset(grouped))


def _within_braces(text: str, place: int) -> bool:
    return text.count("{", 0, place) > text.count("}", 0, place)


def alerts() -> list[dict[str, Any]]:
    """All rules."""
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana reads it."""
    read: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/raccoon.json").read_text("utf-8"))
    return read


def expressions() -> Iterator[Expression]:
    """Of all alerts and panels."""
    for rule in alerts():
        yield parsed(rule["alert"], rule["expr"])
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            yield parsed(f"panel {panel['title']}", text)


def page_of(alert: str) -> str:
    """The name of the runbook's page for an alert."""
    return "-".join(re.findall("[A-Z][a-z]*", alert)[1:]).lower()
