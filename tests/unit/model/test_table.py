"""The table of good and bad objects has a case for every rule."""

from tests.unit.model.cases import BAD, Case
from towpath.model.decode import decode
from towpath.model.kinds.registry import KINDS
from towpath.model.reason import InvalidSpecError


def message(case: Case) -> str:
    """What our own decoder says."""
    try:
        decode(case.kind, {"metadata": {"name": case.name}, "spec": case.spec})
    except InvalidSpecError as error:
        return error.message
    return ""


def test_every_rule_has_a_case():
    """By its message; what compares an object with what it was, and is the API server's alone, by its field."""
    said = {(case.kind, message(case)) for case in BAD}
    compared = {(case.kind, case.field) for case in BAD if case.only == "api" or case.before is not None}
    missing = [
        (kind.name, rule.message)
        for kind in KINDS.values()
        for rule in kind.rules
        if (kind.name, rule.message if rule.check else rule.field) not in (said if rule.check else compared)
    ]
    assert missing == []
