"""Label selectors in both syntaxes: Kubernetes' (``a=b,c in (d)``) and Calico's (``a == 'b' && has(c)``).

Text is parsed once, into a small tree of predicates; a selector prints as it was written and compares by that text.
"""

import re
from collections.abc import Callable, Mapping

Labels = Mapping[str, str]
_Test = Callable[[Labels], bool]
_TOKEN = re.compile(
    r"\s*(?:(?P<op>&&|\|\||==|!=|!|=|\(|\)|\{|\}|,)|(?P<str>'[^']*'|\"[^\"]*\")|(?P<word>[A-Za-z0-9_./\-]+))",
)


MAX_DEPTH = 32
MAX_LENGTH = 4096


class Selector:
    """A parsed selector; the empty text selects everything, as ``all()`` does.

    ``held`` names objects that it selects whatever their labels are by now (``model.selection`` says when that is so).
    """

    __slots__ = ("_test", "held", "text")

    def __init__(self, text: str, test: _Test, *, held: frozenset[str] = frozenset()) -> None:
        self.text = text
        self.held = held
        self._test = test

    def matches(self, labels: Labels) -> bool:
        """Whether labels are selected."""
        return self._test(labels)

    def selects(self, name: str, labels: Labels) -> bool:
        """Whether an object of this name with these labels is selected, or held."""
        return self._test(labels) or name in self.held

    def holding(self, names: frozenset[str]) -> "Selector":
        """The same selector, which selects these objects besides."""
        return self if names == self.held else Selector(self.text, self._test, held=names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and (self.text, self.held) == (other.text, other.held)

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"


def parse_selector(text: object) -> Selector:
    """Parse a selector; ``ValueError`` says where the text stops making sense."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a selector")  # noqa: TRY004  # a user's mistake, as all parsers report it
    if len(text) > MAX_LENGTH:
        raise ValueError(f"selector {text[:20]!r}… has {len(text)} characters, more than {MAX_LENGTH}")
    return Selector(text, _Parser(text).parse())


class _Parser:
    """Recursive descent: ``or`` of ``and`` of terms; a comma at the top binds as ``&&`` does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"selector {text!r}: unexpected {text[position:].strip()[:12]!r}")
            self._tokens.append((str(match.lastgroup), str(match[str(match.lastgroup)])))
            position = match.end()
        self._at = 0
        self._depth = 0

    def parse(self) -> _Test:
        if not self._tokens:
            return lambda _labels: True
        test = self._or()
        if self._at < len(self._tokens):
            raise self._error()
        return test

    def _error(self) -> ValueError:
        found = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
        return ValueError(f"selector {self._text!r}: unexpected {found!r}")

    def _peek(self) -> str:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return text if kind in ("op", "word") else ""

    def _take(self, *wanted: str) -> bool:
        if self._peek() in wanted:
            self._at += 1
            return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._error()

    def _string(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] in ("str", "word"):
            kind, text = self._tokens[self._at]
            self._at += 1
            return text[1:-1] if kind == "str" else text
        raise self._error()

    def _or(self) -> _Test:
        tests = [self._and()]
        while self._take("||"):
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else lambda labels: any(test(labels) for test in tests)

    def _and(self) -> _Test:
        tests = [self._term()]
        while self._take("&&", ","):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else lambda labels: all(test(labels) for test in tests)

    def _term(self) -> _Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:  # as deep as this calls itself, here and at every match
            raise ValueError(f"selector {self._text[:40]!r}: nested more than {MAX_DEPTH} deep")
        test = self._inner_term()
        self._depth -= 1
        return test

    def _inner_term(self) -> _Test:
        if self._take("!"):
            inner = self._term()
            return lambda labels: not inner(labels)
        if self._take("("):
            inner = self._or()
            self._need(")")
            return inner
        name = self._string()
        if name in ("all", "global", "has") and self._take("("):
            if name != "has":
                self._need(")")
                return lambda _labels: True
            key = self._string()
            self._need(")")
            return lambda labels: key in labels
        return self._comparison(name)

    def _comparison(self, key: str) -> _Test:
        if self._take("==", "="):
            value = self._string()
            return lambda labels: labels.get(key) == value
        if self._take("!="):
            value = self._string()
            return lambda labels: labels.get(key) != value
        negated = self._take("not", "notin")
        if negated and self._tokens[self._at - 1][1] == "not":
            self._need("in")
        if negated or self._take("in"):
            values = self._set()
            return lambda labels: (labels.get(key) in values) is not negated
        for word in ("contains", "starts", "ends"):
            if self._take(word):
                if word != "contains":
                    self._need("with")
                return self._text_test(key, word, self._string())
        return lambda labels: key in labels

    def _set(self) -> frozenset[str]:
        closing = "}" if self._take("{") else ")"
        if closing == ")":
            self._need("(")
        values: set[str] = set()
        while not self._take(closing):
            values.add(self._string())
            if not self._take(","):
                self._need(closing)
                break
        return frozenset(values)

    @staticmethod
    def _text_test(key: str, word: str, part: str) -> _Test:
        if word == "contains":
            return lambda labels: key in labels and part in labels[key]
        if word == "starts":
            return lambda labels: labels.get(key, "").startswith(part) and key in labels
        return lambda labels: labels.get(key, "").endswith(part) and key in labels
