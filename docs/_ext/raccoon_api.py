"""Tables made from the documents in docs/api when the pages are built.

Directives: ``api-routes``, ``api-answers`` and ``api-close-codes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from raccoon_reference import Cell, codes, table, words
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).resolve().parent.parent / "api"
METHODS = ("get", "head", "post", "options")


class _Table(SphinxDirective):
    """:cvar document: the file it is made from."""

    document = "openapi.yaml"
    headings: Sequence[str] = ()
    widths: Sequence[int] = ()

    def run(self) -> list[nodes.Node]:
        path = FOLDER / self.document
        self.env.note_dependency(str(path))
        return [table(self.headings, self.widths, self.rows(yaml.safe_load(path.read_text("utf-8"))))]

    def rows(self, document: Any) -> Iterable[Sequence[Cell]]:
        raise NotImplementedError

    def prose(self, text: str) -> list[nodes.Node]:
        """What stands in the document as Markdown."""
        inner = nodes.container()
        inner.document = self.state.document
        self.state.nested_parse(text.splitlines(), 0, inner)
        return inner.children


class Routes(_Table):
    """Every route, and its statuses."""

    headings, widths = ("Route", "What for", "Answers"), (30, 45, 25)

    def rows(self, document: Any) -> Iterable[Sequence[Cell]]:
        for path, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    route = f"{method.upper()} {path}"
                    statuses = ", ".join(item[method]["responses"])
                    yield [codes(route)], self.prose(item[method]["summary"]), [words(statuses)]


class Answers(_Table):
    """What a POST is answered, with the reasons of the examples."""

    headings, widths = ("Status", "When", "For instance"), (10, 50, 40)

    def rows(self, document: Any) -> Iterable[Sequence[Cell]]:
        for status, answer in document["paths"]["/api/v1/events"]["post"]["responses"].items():
            examples = answer["content"]["application/json"]["examples"].values()
            reasons = [reason for example in examples if (reason := example["value"].get("reason"))]
            yield [codes(status)], self.prose(answer["description"]), [codes(*reasons)] if reasons else []


class CloseCodes(_Table):
    """How a WebSocket is closed."""

    document = "asyncapi.yaml"
    headings, widths = ("Code", "Reason", "When", "What to do"), (8, 30, 40, 22)

    def rows(self, document: Any) -> Iterable[Sequence[Cell]]:
        for each in document["channels"]["events"]["x-close-codes"]:
            reason, advice = each.get("reason"), each.get("client")
            yield (
                [codes(str(each["code"]))],
                [codes(reason)] if reason else [],
                self.prose(each["when"]),
                self.prose(advice) if advice else [],
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("api-routes", Routes)
    app.add_directive("api-answers", Answers)
    app.add_directive("api-close-codes", CloseCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
