"""The configuration file: YAML in, dotted names and texts out, and back for printing (contract section 13.1)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from raccoon_tx.config.keys import is_secret

#: Read from the working directory if no other file is named.
DEFAULT_FILE = "config.yaml"


class ConfigurationError(Exception):
    """The server cannot run with this. :ivar mistakes: all of them, a sentence each; no secrets in them."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class _TextLoader(yaml.SafeLoader):
    """Leaves every value as it was written, since YAML would take the password ``0123`` for the number 83."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def read_file(name: str | None, cwd: Path) -> dict[str, str | list[str]]:
    """The settings of the file by their dotted names in lower case; those without a value are left out.

    :param name: as the operator named it, or ``None`` for `DEFAULT_FILE`, which may be missing.
    :raises ConfigurationError: it cannot be read or understood; names the line where it can.
    """
    path = cwd / (name or DEFAULT_FILE)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = yaml.load(text, _TextLoader)
    except FileNotFoundError:
        if name is None:
            return {}
        raise ConfigurationError([f"the configuration file {path} does not exist"]) from None
    except OSError as mistake:
        raise ConfigurationError([f"the configuration file {path} cannot be read: {mistake.strerror}"]) from None
    except UnicodeDecodeError as mistake:
        line = mistake.object.count(b"\n", 0, mistake.start) + 1
        raise ConfigurationError([f"{path}, line {line}: is not UTF-8"]) from None
    except yaml.reader.ReaderError as mistake:
        line = text.count("\n", 0, mistake.position) + 1
        raise ConfigurationError([f"{path}, line {line}: has a character that YAML does not allow"]) from None
    except yaml.MarkedYAMLError as mistake:
        raise ConfigurationError([f"{path}, {_explain(mistake)}"]) from None
    except RecursionError:
        raise ConfigurationError([f"{path}: is nested too deeply"]) from None
    if content is not None and not isinstance(content, dict):
        raise ConfigurationError(
            [f"{path}, line 1: must be names and values, such as 'server:', at the outermost level"]
        )
    return _flat(content or {}, path)


def _explain(mistake: yaml.MarkedYAMLError) -> str:
    mark = mistake.problem_mark or mistake.context_mark
    where = f"line {mark.line + 1}: " if mark else ""
    # An alias or a tag may be a password that begins with * or ! and lacks its quotes.
    texts = (
        re.sub(r"(alias|anchor|tag|handle) ['\"].*", r"\1", text) for text in (mistake.context, mistake.problem) if text
    )
    return where + ", ".join(texts)


def _flat(content: dict[Any, Any], path: Path) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    try:
        for name, value in _leaves(content, ""):
            if name in found:
                raise ConfigurationError([f"{path}: {name} is given twice"])
            found[name] = value
    except RecursionError:
        raise ConfigurationError([f"{path}: a value contains itself"]) from None
    return found


def _leaves(content: dict[Any, Any], prefix: str) -> Iterator[tuple[str, str | list[str]]]:
    for key, value in content.items():
        name = f"{prefix}{key}".lower()
        if isinstance(value, dict):
            yield from _leaves(value, name + ".")
        elif isinstance(value, list):
            yield name, [str(item) for item in value if item is not None]
        elif value is not None:
            yield name, str(value)


def as_yaml(values: Mapping[str, tuple[object, str]]) -> str:
    """These settings as a configuration file that says behind each where it came from; secrets are masked.

    :param values: value and source by dotted name.
    """
    tree: dict[str, Any] = {}
    for name, (value, source) in values.items():
        *sections, last = name.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        shown = _scalar("***") if value and is_secret(name) else _scalar(value)
        section[last] = f"{shown}  # {source}"
    return "".join(f"{line}\n" for line in _lines(tree, ""))


def _scalar(value: object) -> str:
    # Within brackets YAML quotes whatever could be misread; those of a single value come off again.
    flow = list(value) if isinstance(value, tuple) else [value]
    text = str(yaml.safe_dump(flow, default_flow_style=True, width=float("inf"))).strip()
    return text if isinstance(value, tuple) else text[1:-1]


def _lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"
