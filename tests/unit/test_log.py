"""Logs: one shape for all loggers, and no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from mailapi import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_is_one_object_a_line():
    """structlog's and the standard library's loggers write the same fields, request id included."""
    out = io.StringIO()
    log.setup("info", "json", out)
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("mailapi").info("one\ntwo", generation=7)
    logging.getLogger("aiohttp.access").info("GET %s", "/x")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["generation"], first["request_id"]) == ("one\ntwo", 7, "r1")
    assert (second["event"], second["logger"], second["request_id"]) == (
        "GET /x",
        "aiohttp.access",
        "r1",
    )
    assert set(second) < set(first)


@pytest.mark.parametrize("format", ["json", "text"])
def test_secrets_are_dropped(format):
    """Values of keys that name a secret never appear, at any depth, nor a traceback's variables."""
    out = io.StringIO()
    log.setup("debug", format, out)
    logger = structlog.get_logger()
    for key in (
        "password",
        "password1",
        "password_hash",
        "key",
        "api-key",
        "Authorization",
        "token",
    ):
        logger.info("x", **{key: "geheim"}, body={"a": [{key: "geheim"}]})
        logging.getLogger("y").warning("x", extra={key: "geheim"})
    try:
        password = "geheim"
        raise ValueError(len(password))
    except ValueError:
        logger.exception("x")
    assert "geheim" not in out.getvalue()
    assert out.getvalue().count(log.DROPPED) == 21


def test_other_keys_stay():
    """Keys that only resemble a secret's name keep their values."""
    event = {"event": "x", "monkey": 1, "keys": 2, "generation": 3, "rows": [1, 2]}
    assert log.drop_secrets(None, "info", event) == event


def test_level():
    """What is below the level is not written."""
    out = io.StringIO()
    log.setup("warning", "text", out)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").info("quiet")
    structlog.get_logger().warning("loud")
    assert "loud" in out.getvalue()
    assert "quiet" not in out.getvalue()


@pytest.mark.parametrize(
    ("stream", "journal", "as_json"),
    [(Terminal, False, False), (Terminal, True, True), (io.StringIO, False, True)],
)
def test_auto(monkeypatch, stream, journal, as_json):
    """`auto` is text on a terminal, JSON under systemd or into a file."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    out = stream()
    log.setup("info", "auto", out)
    structlog.get_logger().info("x")
    assert out.getvalue().startswith("{") is as_json


def test_setup_twice_writes_once():
    """A second `setup` replaces the first."""
    out = io.StringIO()
    log.setup("info", "json", out)
    log.setup("info", "json", out)
    logging.getLogger("a").info("x")
    assert out.getvalue().count("\n") == 1
