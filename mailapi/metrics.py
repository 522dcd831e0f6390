"""Counters for Prometheus, in a registry of the service's own (prometheus.io, exposition formats).

Labels hold routes and statuses, never addresses or other text of clients.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)  # seconds


class Metrics:
    """`watch` adds numbers that are read when they are asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mailapi_requests",
            "HTTP requests",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "mailapi_request_seconds",
            "From the request's head to the answer",
            ("method",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `method` must be one of HTTP's, `route` a template."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method).observe(seconds)

    def watch(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """A gauge `mailapi_NAME`."""
        Gauge(f"mailapi_{name}", help_, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        return generate_latest(self._registry)
