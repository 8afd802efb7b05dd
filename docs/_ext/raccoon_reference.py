"""The parts of the reference that are made from the source when the pages are built.

Directives: ``settings``, ``kafka-aliases``, ``kafka-defaults``, ``older-names``, ``metrics``. Roles: ``setting``, by
any of the three names of a setting, and ``metric``; both link to the row of the table, and a name that is in no table
is an error. ``says`` is for what the server says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from raccoon_tx.config.kafka_properties import ALIASES
from raccoon_tx.config.keys import SECTIONS, Key, env_name, flag_name
from raccoon_tx.config.kinds import BOOL, Kind
from raccoon_tx.metrics.names import KNOWN, Family
from raccoon_tx.publishers.producer import DEFAULTS

#: What stands in a cell: paragraphs, lists and the like.
Cell = Sequence[nodes.Element]

#: The words of the help for what a value may be, and ours. A word that is not here speaks for itself.
_KINDS = {
    "N": "whole number",
    "MS": "milliseconds",
    "SECONDS": "seconds",
    "BYTES": "bytes",
    "PORT": "port, 0 to 65535",
    "TEXT": "text",
    "PATH": "path of a file or folder",
    "HEADER": "name of a header",
    "PATTERN": "name of a topic, with one %s or none",
    "TOPIC": "name of a topic",
    "LIST": "list, with commas",
    "BOOL": "true or false",
}


def kind_text(kind: Kind) -> str:
    """What a value may be."""
    if kind.choices:
        return ("some of " if kind.many else "") + ", ".join(kind.choices)
    return _KINDS.get(kind.metavar, kind.metavar.lower())


def default_text(key: Key) -> str:
    """The default as one would write it, or nothing."""
    if isinstance(key.default, tuple):
        return ",".join(key.default)
    return str(key.default).lower() if key.kind is BOOL else str(key.default)


def state_text(key: Key) -> str:
    """Why a setting does nothing, if it does nothing."""
    return "accepted, without effect" if key.ignored else ""


def metric_name(family: Family) -> str:
    """The name with the publisher that most have."""
    return family.name.replace("%", "kafka")


def words(text: str, *classes: str) -> nodes.paragraph:
    """Text of our own, for a cell."""
    return nodes.paragraph("", "", nodes.inline(text, text, classes=list(classes)) if classes else nodes.Text(text))


def codes(*texts: str) -> nodes.line_block:
    """Names or quotations, one in a line."""
    return nodes.line_block("", *(nodes.line("", "", nodes.literal(text, text)) for text in texts))


def _names(key_name: str, env: str, flag: str) -> nodes.line_block:
    block = codes(key_name, env, f"--{flag}")
    block["classes"].append("names")
    return block


def table(headings: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[Cell]]) -> nodes.table:
    """A table that looks like the others."""
    made = nodes.table(classes=["reference-table", "colwidths-given"])
    group = nodes.tgroup(cols=len(widths))
    made += group
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    head += _row([[words(heading)] for heading in headings])
    body += [_row(row) for row in rows]
    group += [head, body]
    return made


def _row(cells: Sequence[Cell]) -> nodes.row:
    row = nodes.row()
    row += [nodes.entry("", *cell) for cell in cells]
    return row


class _Reference(SphinxDirective):
    """A directive without arguments, whose rows can be linked to."""

    def target(self, kind: str, label: str, names: Iterable[str], block: nodes.Element) -> None:
        """Make ``block`` what the role ``kind`` finds under each of the names."""
        block["ids"].append(label)
        standard: Any = self.env.get_domain("std")
        for name in names:
            standard.note_object(kind, name, label, location=self.get_location())

    def section(self, title: str, *content: nodes.Element) -> nodes.section:
        """A part of the page with a heading of its own."""
        section = nodes.section("", nodes.title(title, title), *content)
        section["names"].append(nodes.fully_normalize_name(title))
        self.state.document.note_implicit_target(section, section)
        return section


class Settings(_Reference):
    """Every setting, by section."""

    def run(self) -> list[nodes.Node]:
        return [
            self.section(title, table(("Setting", "Value", "Meaning"), (50, 21, 29), map(self._setting, keys)))
            for title, keys in SECTIONS.items()
        ]

    def _setting(self, key: Key) -> Sequence[Cell]:
        names = _names(key.name, key.env, key.flag)
        label = "setting-" + nodes.make_id(key.name)
        self.target("setting", label, (key.name, key.env, f"--{key.flag}"), names)
        default = default_text(key)
        value = nodes.paragraph("", "", nodes.Text("default: "), nodes.literal(default, default))
        meaning = [words(key.help)]
        if state_text(key):
            meaning.append(words(state_text(key), "state"))
        return [names], [words(kind_text(key.kind)), value if default else words("default: none")], meaning


class KafkaAliases(_Reference):
    """Properties of the Kafka client that have two names."""

    def run(self) -> list[nodes.Node]:
        return [table(("Name", "Other name"), (50, 50), [([codes(one)], [codes(two)]) for one, two in ALIASES])]


class KafkaDefaults(_Reference):
    """What the Kafka client is told unless the operator sets it."""

    def run(self) -> list[nodes.Node]:
        defaults = {**DEFAULTS, "enable.idempotence": "true"}
        rows = [([codes(name)], [codes(value)]) for name, value in defaults.items()]
        return [table(("Property", "Value"), (60, 40), rows)]


class OlderNames(_Reference):
    """Names that settings had."""

    def run(self) -> list[nodes.Node]:
        rows = [
            ([_names(older, env_name(older), flag_name(older))], [_names(key.name, key.env, key.flag)])
            for keys in SECTIONS.values()
            for key in keys
            for older in key.older
        ]
        return [table(("Older name", "Name of today"), (50, 50), rows)]


class Metrics(_Reference):
    """Every metric, by kind."""

    def run(self) -> list[nodes.Node]:
        kinds = dict.fromkeys(family.kind for family in KNOWN)
        return [self._section(kind, [family for family in KNOWN if family.kind == kind]) for kind in kinds]

    def _section(self, kind: str, families: Iterable[Family]) -> nodes.section:
        headings = ("Metric", "Labels", "Meaning")
        return self.section(f"{kind}s".capitalize(), table(headings, (46, 18, 36), map(self._metric, families)))

    def _metric(self, family: Family) -> Sequence[Cell]:
        names = codes(metric_name(family))
        self.target("metric", "metric-" + nodes.make_id(metric_name(family)), [metric_name(family)], names)
        return [names], [codes(*family.labels) if family.labels else words("none")], [words(family.help)]


def says(
    _name: str, rawtext: str, text: str, _lineno: int, _inliner: Any, _options: Any = None, _content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role ``says``: what the server says, word for word. A test looks for it in the source."""
    return [nodes.literal(rawtext, text)], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    for kind in ("setting", "metric"):
        app.add_object_type(kind, kind, objname=kind, ref_nodeclass=nodes.literal)
    app.add_role("says", says)
    app.add_directive("settings", Settings)
    app.add_directive("kafka-aliases", KafkaAliases)
    app.add_directive("kafka-defaults", KafkaDefaults)
    app.add_directive("older-names", OlderNames)
    app.add_directive("metrics", Metrics)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
