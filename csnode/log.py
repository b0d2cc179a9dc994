"""The only door to logging: structlog, as JSON lines unless a person watches a terminal.

Every line carries the trace id of the call or job it belongs to, if there is one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from csnode.context import current


def _trace(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = current()
    if context.trace:
        line.setdefault("trace_id", context.trace)
    return line


def start(level: str, form: str, to: TextIO = sys.stderr) -> None:
    """Send logs to the stream. `form` is json, text, or auto: text on a terminal, else JSON."""
    text = form == "text" or (form == "auto" and to.isatty())
    shown = (
        structlog.dev.ConsoleRenderer(colors=to.isatty() and "NO_COLOR" not in os.environ)
        if text
        else structlog.processors.JSONRenderer()
    )
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Any] = before if text else [*before, structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*after, shown],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(to),
        cache_logger_on_first_use=False,
    )
    bridge = structlog.stdlib.ProcessorFormatter(processor=shown, foreign_pre_chain=after)
    handler = logging.StreamHandler(to)
    handler.setFormatter(bridge)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def logger(name: str) -> Any:
    """Return a logger: log.info("what happened", key=value, ...)."""
    return structlog.get_logger(part=name)
