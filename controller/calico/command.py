"""``towpath import calico``: manifests in, ours out, and a report of what could not be carried over."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from towpath.controller.calico.carry import Finding
from towpath.controller.calico.convert import converted
from towpath.controller.manifests import dump
from towpath.controller.plan.inputs import read
from towpath.controller.settings import CannotRunError
from towpath.model.kinds.kind import API_VERSION


def run(files: tuple[str, ...], *, secret_namespace: str, report: Path | None, style: str, for_apply: bool) -> int:
    """Print our objects; the report goes to standard error, and as JSON to a file where one is named.

    ``for_apply``: what only a plan needs, and the cluster has itself or makes, is left out; the report says what Nodes lack.
    """
    made = converted(read(files), secret_namespace=secret_namespace)
    findings = sorted((*made.findings, *made.by_hand)) if for_apply else made.findings
    objects = [one for one in made.objects if not for_apply or _is_ours(one, secret_namespace)]
    if report is not None:
        text = json.dumps([_finding(one) for one in findings], indent=2) + "\n"
        try:
            report.write_text(text)
        except OSError as error:
            raise CannotRunError(f"--report {report}: {error.strerror}") from error
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for one in findings:
        print(f"{one.kind}/{one.name} {one.field}".rstrip() + f": {one.message}", file=sys.stderr)
    if style == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    else:
        sys.stdout.write("---\n".join(map(dump, objects)))
    return 0


def _is_ours(body: Mapping[str, Any], secret_namespace: str) -> bool:
    secret = body["kind"] == "Secret" and body["metadata"].get("namespace") == secret_namespace
    return bool(secret or (body["apiVersion"] == API_VERSION and body["kind"] != "RoutingNode"))


def _finding(one: Finding) -> dict[str, Any]:
    return {"object": {"kind": one.kind, "name": one.name}, "field": one.field or None, "message": one.message}
