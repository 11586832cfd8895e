"""The BGP Role capability (RFC 9234 section 4.1), which ExaBGP does not know, and the judgement of the peer's."""

from typing import ClassVar, Final

from exabgp.bgp.message import Notification, Open
from exabgp.bgp.message.open.capability import Capability

from towpath.bgp.ports import SessionError
from towpath.bgp.role import COUNTERPART, NUMBERS
from towpath.model.kinds.peer import Role

CODE: Final = 9
_OPEN_ERROR, _MISMATCH = 2, 11
_NAMES: Final = {bytes((number,)): name for name, number in NUMBERS.items()}

Notification._str_subcode[_OPEN_ERROR, _MISMATCH] = "Role Mismatch"  # ExaBGP's words for what peers say


@Capability.register()
class RoleCapability:
    """Every value that an OPEN carries: more than one is for the judge to see."""

    ID: ClassVar[int] = CODE

    def __init__(self, *values: bytes) -> None:
        self.values = [*values]

    def extract(self) -> list[bytes]:
        """The values, to be packed."""
        return self.values

    def __str__(self) -> str:
        return f"Role {' '.join(value.hex() for value in self.values)}"

    @staticmethod
    def unpack_capability(instance: "RoleCapability", data: bytes, _code: int) -> "RoleCapability":
        """One more value."""
        instance.values.append(bytes(data))
        return instance


def role_capability(role: Role) -> RoleCapability:
    """What we say."""
    return RoleCapability(bytes((NUMBERS[role],)))


def judge_role(received: Open, *, role: Role | None, strict: bool) -> None:
    """``SessionError`` 2/11 where the peer is not what it should be to us (RFC 9234 section 4.2)."""
    if role is None:
        return
    said = set(received.capabilities[CODE].values) if CODE in received.capabilities else set()
    wanted = COUNTERPART[role]
    if not said:
        if strict:
            raise SessionError(
                _OPEN_ERROR, _MISMATCH, message=f"the peer does not say its role, which must be {wanted}"
            )
        return
    if said != {bytes((NUMBERS[wanted],))}:
        names = " and ".join(sorted(_NAMES.get(value, f"0x{value.hex()}") for value in said))
        raise SessionError(
            _OPEN_ERROR, _MISMATCH, message=f"role mismatch: the peer says {names}, and to a {role} it must be {wanted}"
        )
