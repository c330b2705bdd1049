"""What Prometheus reads."""

from collections.abc import Callable, Iterator

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counts requests and batches.

    Labels come from the server's own models, never from a request alone: the caller gives "" for
    what is not known, so that clients cannot make their number grow.

    Attributes:
        registry: of these metrics alone.
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "kerasner_requests",
            "Requests answered, by gRPC status code.",
            ["model", "signature", "protocol", "code"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "kerasner_request_seconds",
            "Time from a request's arrival to its answer.",
            ["model", "signature", "protocol"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_rows = Histogram(
            "kerasner_batch_rows",
            "Rows computed in one call of a model.",
            ["model", "signature"],
            buckets=_ROWS,
            registry=self.registry,
        )
        self._batch_requests = Histogram(
            "kerasner_batch_requests",
            "Requests computed in one call of a model.",
            ["model", "signature"],
            buckets=_ROWS,
            registry=self.registry,
        )
        self._queue = Gauge(
            "kerasner_queue_requests", "Requests that wait for a thread.", registry=self.registry
        )
        # Looking a child up by its labels takes longer than counting.
        self._counters: dict[tuple, tuple] = {}
        self._histograms: dict[tuple, tuple] = {}

    def request(
        self, model: str, signature: str, protocol: str, code: grpc.StatusCode, seconds: float
    ) -> None:
        """Counts an answered request.

        Args:
            model, signature: names that exist, or "".
            protocol: "grpc" or "rest".
            code: of the answer.
            seconds: that it took.
        """
        key = (model, signature, protocol, code)
        children = self._counters.get(key)
        if children is None:
            children = self._counters[key] = (
                self._requests.labels(model, signature, protocol, code.name),
                self._latency.labels(model, signature, protocol),
            )
        counter, latency = children
        counter.inc()
        latency.observe(seconds)

    def batch(self, model: str, signature: str, rows: int, requests: int) -> None:
        """Counts a call of a model."""
        children = self._histograms.get((model, signature))
        if children is None:
            children = self._histograms[model, signature] = (
                self._batch_rows.labels(model, signature),
                self._batch_requests.labels(model, signature),
            )
        children[0].observe(rows)
        children[1].observe(requests)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Says where the length of the queue is read."""
        self._queue.set_function(length)

    def watch_versions(self, available: Callable[[], dict[str, list[int]]]) -> None:
        """Says where the available versions of each model are read."""
        self.registry.register(_Versions(available))


class _Versions(Collector):
    """Read when Prometheus asks, so that no change is missed."""

    def __init__(self, available: Callable[[], dict[str, list[int]]]):
        self._available = available

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "kerasner_model_version_available",
            "1 for each version that is served.",
            labels=["model", "version"],
        )
        for model, versions in self._available().items():
            for version in versions:
                family.add_metric([model, str(version)], 1)
        yield family
