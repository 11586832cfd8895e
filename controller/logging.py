"""Logs of every process: structlog, for people or as JSON, with a level that can be changed while running.

Three promises are kept here and nowhere else: a ``Secret`` prints as stars whatever renders it, a field that is named
like a password prints as stars too, and ExaBGP is never heard below INFO (at DEBUG it prints keys).
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import msgspec
import structlog

from towpath.model.secret import Secret

Format = Literal["console", "json"]
STARS = "***"
_SECRET_FIELDS = frozenset({"password", "passwords", "secret", "secrets", "token", "authorization", "data"})
_LEVELS = {
    "Debug": logging.DEBUG,
    "Info": logging.INFO,
    "Warning": logging.WARNING,
    "Error": logging.ERROR,
    "Fatal": logging.CRITICAL,
}
_METHODS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "exception": logging.ERROR,
}
_threshold = [logging.INFO]


def configure(*, process: str, style: Format, stream: TextIO | None = None) -> None:
    """Set up logging of this process, its libraries' included; the level starts at Info."""
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)
    )
    target = stream or sys.stderr
    structlog.configure(
        processors=[
            _drop_below,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,  # a log line is rare, and a cached logger outlives its stream
    )
    structlog.contextvars.bind_contextvars(process=process)
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(logging.WARNING)


def set_level(severity: str) -> None:
    """Follow ``logSeverityScreen``: Debug, Info, Warning, Error or Fatal."""
    _threshold[0] = _LEVELS[severity]
    logging.getLogger().setLevel(max(logging.WARNING, _threshold[0]))
    logging.getLogger("exabgp").setLevel(max(logging.INFO, _threshold[0]))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: stars for secrets, wherever in the fields they are."""
    for name, value in event.items():
        event[name] = STARS if name.lower() in _SECRET_FIELDS else _clean(value)
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, Secret):
        return STARS
    if isinstance(value, dict):
        return {key: STARS if str(key).lower() in _SECRET_FIELDS else _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value


def _drop_below(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _METHODS.get(method, logging.INFO) < _threshold[0]:
        raise structlog.DropEvent
    return event


def _json(event: Any, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class _ToStructlog(logging.Handler):
    """Records of libraries, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        if record.levelno < logging.WARNING:
            write = log.info
        write("library.message", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
