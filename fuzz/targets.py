"""All targets, by name."""

from __future__ import annotations

from fuzz import codecs, configuration, connections

TARGETS = {each.name: each for each in (*connections.TARGETS, *codecs.TARGETS, *configuration.TARGETS)}
