"""What Prometheus reads: rates, times and sizes, without names of people."""

from __future__ import annotations

from typing import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_FACES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "arcface_requests", "requests answered", ("method", "route", "status"), registry=registry
        )
        self.request_s = Histogram(
            "arcface_request_seconds",
            "from the first byte to the answer",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge("arcface_requests_in_progress", "requests being answered", registry=registry)
        self.batch_faces = Histogram(
            "arcface_batch_size", "faces in a run of the recogniser", buckets=_FACES, registry=registry
        )
        self.inference_s = Histogram(
            "arcface_inference_seconds", "of a worker on a picture", buckets=_SECONDS, registry=registry
        )
        self.faces = Counter("arcface_faces", "faces found", registry=registry)
        self.rejected = Counter(
            "arcface_rejected", "requests refused, by the code of the answer", ("code",), registry=registry
        )
        self._gauges = {
            name: Gauge(f"arcface_{name}", help_text, registry=registry)
            for name, help_text in (
                ("queue_length", "pictures that wait for a worker"),
                ("gallery_people", "people in the gallery"),
                ("gallery_faces", "faces in the gallery"),
                ("ready", "1 while requests are taken"),
            )
        }

    def follow(self, gauge: str, value: Callable[[], float]) -> None:
        """Let a gauge ask for its value whenever somebody reads it."""
        self._gauges[gauge].set_function(value)

    def text(self) -> bytes:
        """Return all in the format of Prometheus."""
        return generate_latest(self._registry)
