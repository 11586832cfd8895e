"""A value that must not be seen: it prints as stars and has to be asked for by name."""


class Secret:
    """A password. ``repr``, ``str`` and formatting show stars; equality works; ``reveal`` gives the bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The secret itself: for the socket option, the frame to the speaker and the file on tmpfs, nothing else."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__
