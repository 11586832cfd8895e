"""What the addresses of an IPPool are for: pods and nodes' ends of tunnels, or services of type LoadBalancer."""

from collections.abc import Callable
from typing import Any, Literal

from towpath.model.kinds.kind import Rule
from towpath.model.selector import Selector

Use = Literal["Workload", "Tunnel", "LoadBalancer"]
FOR_SERVICES = "(has({0}.allowedUses) && 'LoadBalancer' in {0}.allowedUses)"
"""CEL: whether a pool is for services."""


def _selects_all(selector: Selector | None) -> bool:
    return selector is None or selector.text in ("", "all()")


def _uses_fit(spec: Any) -> bool:
    if spec.for_services:
        return set(spec.allowed_uses) == {"LoadBalancer"}
    return "Workload" in spec.allowed_uses and ("Tunnel" in spec.allowed_uses or not spec.encapsulates)


def _is_of_services_alone(spec: Any) -> bool:
    """Whether nothing is asked of a pool for services that only pods could have."""
    return not spec.for_services or (
        _selects_all(spec.node_selector) and not spec.encapsulates and spec.attachment == type(spec.attachment)()
    )


def _selects_for_services(name: str, selector: Callable[[Any], Selector | None]) -> Rule:
    return Rule(
        cel=f"{FOR_SERVICES.format('self')} || !has(self.{name}) || self.{name} in ['', 'all()']",
        message=f"{name} needs allowedUses LoadBalancer",
        field=f"spec.{name}",
        check=lambda _meta, spec: spec.for_services or _selects_all(selector(spec)),
    )


USE_RULES = (
    Rule(
        cel="!has(self.allowedUses) || ('LoadBalancer' in self.allowedUses ? self.allowedUses.all(one, one == 'LoadBalancer') : 'Workload' in self.allowedUses && ('Tunnel' in self.allowedUses || ((!has(self.ipipMode) || self.ipipMode == 'Never') && (!has(self.vxlanMode) || self.vxlanMode == 'Never'))))",
        message="allowedUses is LoadBalancer alone, or Workload, with Tunnel where packets are sent by a tunnel: a node's address in it is the lowest of its pods'",
        field="spec.allowedUses",
        check=lambda _meta, spec: _uses_fit(spec),
    ),
    Rule(
        cel=f"{FOR_SERVICES.format('self')} == {FOR_SERVICES.format('oldSelf')}",
        message="a pool for load balancers does not become one for pods, nor the other way: make another pool",
        field="spec.allowedUses",
    ),
    Rule(
        cel=f"!{FOR_SERVICES.format('self')} || ((!has(self.nodeSelector) || self.nodeSelector in ['', 'all()']) && (!has(self.ipipMode) || self.ipipMode == 'Never') && (!has(self.vxlanMode) || self.vxlanMode == 'Never') && (!has(self.attachment) || ((!has(self.attachment.type) || self.attachment.type == 'ptp') && !has(self.attachment.mtu))))",
        message="a pool for load balancers has no nodes, tunnels or pods: nodeSelector, ipipMode, vxlanMode and attachment stay unset",
        field="spec.allowedUses",
        check=lambda _meta, spec: _is_of_services_alone(spec),
    ),
    _selects_for_services("serviceSelector", lambda spec: spec.service_selector),
)
