"""Objects of the Kubernetes API as values: metadata, specification, conditions."""

from typing import Generic, TypeVar

from msgspec import Struct, field

S = TypeVar("S")
T = TypeVar("T")


class OwnerReference(Struct, frozen=True, rename="camel"):
    """Another object that this one goes with."""

    api_version: str
    kind: str
    name: str
    uid: str


class Meta(Struct, frozen=True, rename="camel"):
    """The metadata that we read or write (Kubernetes API conventions, ObjectMeta)."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(Struct, frozen=True, rename="camel"):
    """A condition (KEP-1623): ``status`` is ``True``, ``False`` or ``Unknown``; the time is RFC 3339."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class Resource(Struct, Generic[S, T], frozen=True):
    """One decoded object: its kind, metadata, specification and status (None where it has none)."""

    kind: str
    meta: Meta
    spec: S
    status: T | None = None

    @property
    def name(self) -> str:
        """The object's name."""
        return self.meta.name


def version_number(text: str) -> int:
    """A resourceVersion as a number; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() else 0
