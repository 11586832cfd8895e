"""The CustomResourceDefinitions of this release, brought to the API server at start: created, made newer, never older.

Each carries the release that wrote it. A replica leaves alone what a newer release wrote, so it makes no difference which
replica comes first, nor whether it leads. One without the mark is from before there was one, or from somebody's hand.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import structlog
from msgspec import Struct

from towpath.controller.ports import AlreadyExistsError, Api, ApiError, ConflictError, NotFoundError
from towpath.model.crd import crds

log = structlog.get_logger(__name__)
KIND = "CustomResourceDefinition"
RELEASE = "towpath.io/release"
"""Annotation: the release that wrote a definition."""
_ADDED_BY_THE_SERVER = frozenset({"conversion", "preserveUnknownFields"})
_REMEDY = (
    "allow get, create and update of customresourcedefinitions, or apply the chart's crds/ and set --manage-crds false"
)


def release() -> str:
    """The release that this process is of."""
    return version("towpath")


def stamped(definition: Mapping[str, Any], *, by: str) -> dict[str, Any]:
    """The definition with the mark of the release that writes it."""
    metadata = {**definition["metadata"], "annotations": {RELEASE: by}}
    return {**definition, "metadata": metadata}


def order(text: str) -> tuple[tuple[int, ...], bool]:
    """What releases are compared by: the numbers, then whether it is final. What reads as none is older than any."""
    match = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)(.*)", text)
    if match is None:
        return (), False
    numbers = tuple(int(part) for part in match[1].split("."))
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers, not re.match(r"[-._]?(a|b|rc|dev|alpha|beta|pre)", match[2])


class Outcome(Struct, frozen=True):
    """What became of one definition; ``problem`` empty: it serves this release."""

    name: str
    action: str
    problem: str = ""


class Definitions:
    """The definitions of this release on one API server."""

    def __init__(self, api: Api, *, wanted: Iterable[Mapping[str, Any]] | None = None, by: str = "") -> None:
        """``wanted`` and ``by``: definitions and release, this process' own unless given."""
        self._api = api
        self._by = by or release()
        self._wanted = [stamped(one, by=self._by) for one in (crds() if wanted is None else wanted)]
        self._said: dict[str, Outcome] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps definitions from being as they should be, as of the last step."""
        return tuple(one.problem for one in self._said.values() if one.problem)

    async def step(self) -> bool:
        """Bring them all; whether nothing is left to do. Each is tried, whatever became of the others."""
        done = True
        for definition in self._wanted:
            outcome = await self._bring(definition)
            done = done and not outcome.problem
            self._say(outcome)
        return done

    async def _bring(self, definition: dict[str, Any]) -> Outcome:
        name = str(definition["metadata"]["name"])
        try:
            try:
                there = await self._api.get(KIND, name)
            except NotFoundError:
                await self._api.create(KIND, definition)
                return Outcome(name, "created")
            annotations = there["metadata"].get("annotations") or {}
            if order(annotations.get(RELEASE, "")) > order(self._by):
                return Outcome(name, f"left as release {annotations[RELEASE]} wrote it")
            if annotations.get(RELEASE) == self._by and is_same(there["spec"], definition["spec"]):
                return Outcome(name, "there")
            metadata = {**there["metadata"], "annotations": {**annotations, RELEASE: self._by}}
            await self._api.replace(KIND, {**there, "metadata": metadata, "spec": definition["spec"]})
            return Outcome(name, "updated")
        except (AlreadyExistsError, ConflictError) as error:
            return Outcome(name, "again", problem=str(error))  # another replica was faster: look again
        except ApiError as error:
            return Outcome(name, "refused", problem=str(error))

    def _say(self, outcome: Outcome) -> None:
        if self._said.get(outcome.name) == outcome:
            return
        self._said[outcome.name] = outcome
        if outcome.action == "refused":
            log.warning("crd.refused", crd=outcome.name, error=outcome.problem, remedy=_REMEDY)
        elif outcome.action not in ("there", "again"):
            log.info("crd.brought", crd=outcome.name, action=outcome.action, release=self._by)


def is_same(there: Any, wanted: Any) -> bool:
    """Whether a definition says what it should, but for what the API server adds by itself."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        extra = there.keys() - wanted.keys() - _ADDED_BY_THE_SERVER
        return not extra and all(key in there and is_same(there[key], one) for key, one in wanted.items())
    if isinstance(there, list) and isinstance(wanted, list):
        return len(there) == len(wanted) and all(map(is_same, there, wanted))
    return bool(there == wanted)
