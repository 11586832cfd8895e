"""Manifests as Kubernetes reads them: YAML or JSON, several documents a file, lists, and YAML's scalars in its way.

Kubernetes' YAML library knows the booleans of YAML 1.1 (``on``, ``yes``), but no numbers to the base of sixty
(``5663:12`` is a string) and no dates; ``1e3`` is a number. PyYAML by itself decides otherwise in all three.
"""

import contextlib
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_SCALARS = frozenset({_STRING, *(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))})
_INT = re.compile(r"[-+]?(0b[0-1_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class ManifestError(ValueError):
    """A document that cannot be read; the message says where."""


_SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one that reads with libyaml, ten times as fast, where PyYAML was built with it."""


class _Loader(_SafeLoader):  # type: ignore[misc]  # one of two classes, both of which have what is used here
    """PyYAML's safe loader with Kubernetes' idea of scalars.

    What manifests are made of (mappings with names as keys, lists, scalars) it builds itself, in a third of the time.
    """

    def construct_document(self, node: Any) -> Any:
        self._built: dict[Any, Any] = {}
        return self._value(node)

    def _value(self, node: Any) -> Any:
        tag = node.tag
        if tag == _STRING and node.id == "scalar":
            return node.value
        if tag == _MAPPING and node.id == "mapping" and all(map(_is_plain, node.value)):
            return self._built[node] if node in self._built else self._mapping(node)
        if tag == _SEQUENCE and node.id == "sequence":
            if node not in self._built:
                items = self._built[node] = []
                items.extend(map(self._value, node.value))
            return self._built[node]
        return self.construct_object(node, deep=True)

    def _mapping(self, node: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._built[node] = found  # first: it may be in itself
        for key, value in node.value:
            found[key.value if key.tag == _STRING else _key(self.construct_object(key))] = self._value(value)
        if len(found) < len(node.value):
            self._refuse_twice([key for key, _ in node.value])
        return found

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        self._refuse_twice([key for key, _ in node.value if key.tag != _MERGE])
        return {_key(key): value for key, value in super().construct_mapping(node, deep=deep).items()}

    def _refuse_twice(self, keys: Any) -> None:
        seen: set[str] = set()
        for key in keys:
            name = _key(self.construct_object(key, deep=True))
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is there twice", key.start_mark)
            seen.add(name)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _tag(value) if implicit[0] else _STRING
        return super().resolve(kind, value, implicit)


def _is_plain(entry: Any) -> bool:
    """Whether the key of a mapping's entry is a scalar, and no merge."""
    key, _ = entry
    return key.id == "scalar" and key.tag in _SCALARS


@lru_cache(maxsize=1 << 14)
def _tag(text: str) -> str:
    """What a scalar without quotes is; most of a manifest's are names that come again."""
    resolvers = _Loader.yaml_implicit_resolvers.get(text[:1], ())
    return next((tag for tag, pattern in resolvers if pattern.match(text)), _STRING)


def _integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float(loader: Any, node: Any) -> float | int:
    text = loader.construct_scalar(node).lower()
    number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return int(number) if number.is_integer() else number


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"(?:{_INT.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{_FLOAT.pattern})$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Every object in a text, those inside of ``List`` objects one by one; ``ManifestError`` where it makes no sense."""
    for document in _parsed(text):
        if document is not None:
            yield from _objects(document)


def values(text: str) -> list[Any]:
    """Every document of a text, whatever it is, with scalars as Kubernetes reads them; ``ManifestError``."""
    return _parsed(text)


def dump(body: Mapping[str, Any]) -> str:
    """An object as YAML; text that Kubernetes would read as something else is quoted."""
    return yaml.dump(json.loads(json.dumps(body)), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _parsed(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # several documents of YAML, or its flow style
            return list(_json(text))
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # what ends too soon is missed on the line after the last
        place = f"line {min(mark.line + 1, len(text.splitlines()))}: " if mark else ""
        raise ManifestError(f"{place}{getattr(error, 'problem', None) or error}") from error
    except ValueError as error:
        raise ManifestError(str(error)) from error
    except RecursionError as error:
        raise ManifestError("it is nested too deeply") from error


def _json(text: str) -> Iterator[Any]:
    """JSON values one after another, with nothing but white space between them."""
    decoder, text, at = json.JSONDecoder(), text.strip(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        while text[at : at + 1].isspace():
            at += 1


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict):
        raise ManifestError(f"a document is no object but {type(document).__name__}")
    if not isinstance(document.get("kind"), str) or not isinstance(document.get("apiVersion"), str):
        raise ManifestError("an object has no kind or no apiVersion")
    if document["kind"].endswith("List") and isinstance(document.get("items", ""), list | None):
        kind = document["kind"].removesuffix("List")
        # what the API server lists of a kind of its own does not say again what it is
        said = {"apiVersion": document["apiVersion"], "kind": kind} if kind else {}
        for item in document["items"] or ():
            yield from _objects({**said, **item} if isinstance(item, dict) else item)
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), (str, int, float, bool)):
        raise ManifestError(f"{document['kind']}: metadata.name is missing")
    metadata["name"] = _text(metadata["name"])
    for field in ("labels", "annotations"):
        if isinstance(metadata.get(field), dict):
            metadata[field] = {key: _text(value) for key, value in metadata[field].items()}
    yield document


def _text(value: Any) -> Any:
    """A scalar where text belongs, as Kubernetes' decoder makes text of it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


_SafeDumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]  # as with the loader
    """PyYAML's dumper that quotes by the loader's rules as well as by its own."""


def _represent(dumper: Any, text: str) -> yaml.ScalarNode:
    misread = bool(_INT.fullmatch(text) or _FLOAT.fullmatch(text))
    node: yaml.ScalarNode = dumper.represent_scalar(_STRING, text, style="'" if misread else None)
    return node


_Dumper.add_representer(str, _represent)
