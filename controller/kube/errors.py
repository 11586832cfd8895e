"""A refusal of the API server as one of the port's errors; every message names verb and resource."""

from collections.abc import Mapping
from typing import Any

import msgspec

from towpath.controller.ports import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NotFoundError,
    UnreachableError,
)

_BY_REASON: Mapping[str, type[ApiError]] = {
    "AlreadyExists": AlreadyExistsError,
    "Invalid": InvalidObjectError,
    "Expired": GoneError,
    "Gone": GoneError,
}
_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidObjectError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidObjectError,
}


def error_of(what: str, *, status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error for an answer; ``what`` is verb and resource, such as ``create IPAMBlock 10-0-0-0-26``."""
    message, reason = read_status(body)
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status)
    if kind is None:
        # the server, or something before it, broke off: the request may have been carried out
        kind = UnreachableError if status >= 500 else ApiError
    return kind(
        f"{what}: {message or f'HTTP status {status}'}", status=status, reason=reason, retry_after=seconds(retry_after)
    )


def read_status(body: bytes) -> tuple[str, str]:
    """Message and reason of a ``Status`` object; whatever else it is gives its first words and no reason."""
    try:
        found: Any = msgspec.json.decode(body)
        return str(found["message"]), str(found.get("reason", ""))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        return body[:200].decode(errors="replace").strip(), ""


def seconds(retry_after: str | None) -> float | None:
    """The header ``Retry-After`` in seconds; a date counts as none."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
