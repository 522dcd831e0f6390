"""Logs: structlog and the standard library's logging through one pipeline, to standard error.

    setup("info", "auto")
    structlog.get_logger().info("published", generation=7)

`auto` means JSON, one object a line, under systemd and into files, and readable text on a
terminal. What was bound with `structlog.contextvars.bind_contextvars(request_id=…)` stands on
every line. The values of keys that name a secret are dropped at any depth: the last line of
defence, for no caller should pass one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

SECRET = re.compile(
    r"password|passwd|secret|token|authorization|cookie|(^|_|-)(key|hash)\d*$", re.I
)
DROPPED = "[dropped]"


def setup(level: str, format: str, stream: TextIO | None = None) -> None:
    """Log from `level` ("debug" … "error") up; `format` is "auto", "json" or "text"."""
    stream = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and _is_for_machines(stream))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers at module level are made before `setup`
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(as_json, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def drop_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A processor: the values of keys such as `password` or `Authorization` become [dropped]."""
    return {key: DROPPED if SECRET.search(key) else _dropped(value) for key, value in event.items()}


def _dropped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: DROPPED if SECRET.search(str(key)) else _dropped(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return [_dropped(item) for item in value]
    return value


def _is_for_machines(stream: TextIO) -> bool:
    return "JOURNAL_STREAM" in os.environ or not stream.isatty()


def _renderers(as_json: bool, stream: TextIO) -> list[Processor]:
    if as_json:
        # no local variables: they may hold passwords
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
