"""AddressClaim: an address of a load balancer, and the services that have it."""

from typing import Annotated

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.kind import Column, Kind, Rule, json_name
from towpath.model.net import Address, address_name

PortName = Annotated[str, Field(max_length=32)]


class Tenant(Struct, frozen=True, rename=json_name):
    """A service that has an address, and what of it says who else may have it."""

    # a controller writes it: a field that is not known is one of a newer release
    service: Annotated[str, Field(min_length=1, max_length=320, description="Namespace and name, with a slash.")]
    uid: Annotated[str, Field(max_length=253, description="UID of that Service object.")] = ""
    resource_version: Annotated[
        str,
        Field(max_length=253, description="The version of the Service into whose status the address may be written."),
    ] = ""
    sharing_key: Annotated[str, Field(max_length=253, description="The key by which it shares the address.")] = ""
    ports: Annotated[
        tuple[PortName, ...], Field(max_length=4096, description="Protocols and ports that it takes, as TCP/80.")
    ] = ()
    endpoints: Annotated[
        str,
        Field(
            max_length=4096, description="With externalTrafficPolicy Local the pods behind it: where they are matters."
        ),
    ] = ""


class AddressClaimSpec(Struct, frozen=True, rename=json_name):
    """An address of a load balancer. The object's name is the address: creating it is the claim."""

    address: Annotated[Address, Field(description="The address; the object's name is this with dashes.")]
    pool: Annotated[
        str, Field(max_length=253, description="Pool that it lies in; empty for one that is made by hand.")
    ] = ""
    services: Annotated[
        tuple[Tenant, ...],
        Field(
            max_length=1000,
            description="Who has it. One that is made without any keeps the address from all services.",
        ),
    ] = ()


ADDRESS_CLAIM = Kind(
    name="AddressClaim",
    plural="addressclaims",
    singular="addressclaim",
    short_names=("claim",),
    description="An address of a load balancer that services have. Made by the controller.",
    spec=AddressClaimSpec,
    rules=(
        Rule(cel="self.address == oldSelf.address", message="address cannot be changed", field="spec.address"),
        Rule(
            cel="!isIP(self.address) || string(ip(self.address)) == self.address",
            message="address must be written in its canonical form, so that an address has one name only",
            field="spec.address",
        ),
        Rule(
            cel="self.metadata.name == self.spec.address.replace('.', '-').replace(':', '-')",
            message="the name must be the address with dashes for dots and colons",
            field="metadata.name",
            at="",
            check=lambda meta, spec: meta.name == address_name(spec.address),
        ),
    ),
    columns=(
        Column("Address", ".spec.address"),
        Column("Services", ".spec.services[*].service"),
        Column("Pool", ".spec.pool"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)
