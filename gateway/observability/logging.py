"""The gateway's own log: structured, on standard error, without secrets.

Standard output stays clean: `serve --stdio` speaks the protocol there. Other libraries'
records (uvicorn, httpx, provider SDKs) go through the same redaction.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from gateway.config.resolved import Logging
from gateway.observability.decisions import EVENT
from gateway.observability.redaction import scrub

_CHATTY = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "anthropic",
    "mcp",
    "asyncio",
    "uvicorn.access",
)
"""Libraries that report every request: heard only at debug level, warnings apart."""


def configure(settings: Logging, stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (standard error), in one format.

    May be called again, after a reload for instance; the last call counts.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    target = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(settings, target),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of a record; a structlog processor."""
    inner = {key: value for key, value in event.items() if key.startswith("_")}
    return {**scrub({key: value for key, value in event.items() if key not in inner}), **inner}


def _rendering(settings: Logging, target: TextIO) -> list[Any]:
    if settings.format == "json":
        return [structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    return [_for_people, structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=0)]


def _for_people(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show a decision as its summary; the fields are for machines."""
    if event.get("event") != EVENT or "summary" not in event:
        return event
    return {
        "event": event["summary"],
        **{key: event[key] for key in ("timestamp", "level", "logger", "worker") if key in event},
    }
