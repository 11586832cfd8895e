"""IPReservation: addresses that no pod gets."""

from typing import Annotated

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.kind import Column, Kind, json_name
from towpath.model.net import Prefix


class IPReservationSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Addresses that no pod gets."""

    reserved_cidrs: Annotated[
        tuple[Prefix, ...],
        Field(
            max_length=1000,
            description="Ranges of addresses that no pod gets, whichever pools they lie in: those that pods have already stay theirs until they end.",
        ),
    ] = ()


IP_RESERVATION = Kind(
    name="IPReservation",
    plural="ipreservations",
    singular="ipreservation",
    short_names=("ipres",),
    description="Addresses in pools that are never handed out.",
    spec=IPReservationSpec,
    columns=(
        Column("CIDRs", ".spec.reservedCIDRs"),
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)
