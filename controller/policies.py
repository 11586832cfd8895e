"""Network policies, of Kubernetes and of others: towpath enforces none, and says so until somebody says that this is known."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from towpath.model.reason import listed
from towpath.model.selection import ACKNOWLEDGE
from towpath.model.service import key_of
from towpath.model.workload import mapping

GROUPS = ("networking.k8s.io/", "policy.networking.k8s.io/", "projectcalico.org/", "crd.projectcalico.org/")
KINDS = frozenset(
    {
        *("NetworkPolicy", "GlobalNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"),
        "ClusterNetworkPolicy",
    }
)
"""Those of Calico and of SIG Network among them; staged ones are enforced by nobody."""
_LIKENESS = "knp."
"""What the names of Kubernetes' own begin with where Calico's API shows them once more."""
Body = Mapping[str, Any]
UNENFORCED = (
    "not enforced: towpath has no network policies. Keep an engine for them, or say that it is known by the annotation"
    f" {ACKNOWLEDGE}"
)
"""What is said of each."""


def is_policy(body: Body) -> bool:
    """Whether an object is a network policy of anybody's."""
    return body["kind"] in KINDS and str(body["apiVersion"]).startswith(GROUPS)


def unacknowledged(bodies: Iterable[Body]) -> list[tuple[str, str]]:
    """Kind, and name or ``NAMESPACE/NAME``, of the policies of which nobody has said that they are known not to be enforced."""
    return sorted({(body["kind"], _named(body)) for body in bodies if is_policy(body) and not _is_known(body)})


def sentence(policies: Sequence[tuple[str, str]]) -> str:
    """What is said of several, by kind and name as ``unacknowledged`` has them: which, and how many in which namespaces."""
    named = [f"{kind} {name}" for kind, name in policies]
    spaces = Counter(name.partition("/")[0] for _, name in policies if "/" in name)
    most = sorted(spaces.items(), key=lambda item: (-item[1], item[0]))
    where = f"; in namespaces {listed([f'{name} ({count})' for name, count in most])}" if spaces else ""
    return f"{UNENFORCED}. {len(policies)} without it: {listed(named)}{where}"


def _named(body: Body) -> str:
    return key_of(body) if body["metadata"].get("namespace") else str(body["metadata"]["name"])


def _is_known(body: Body) -> bool:
    likeness = "projectcalico.org/" in body["apiVersion"] and str(body["metadata"]["name"]).startswith(_LIKENESS)
    return likeness or bool(mapping(body["metadata"].get("annotations")).get(ACKNOWLEDGE))
