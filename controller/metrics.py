"""Metrics for Prometheus, with the words of the status: made from what is known at the moment of the question.

Nothing is counted for them on the way but what only passes by (events, runs of loops). The library is loaded when the
first question comes. A port that is taken costs the metrics, never the process.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import structlog

from towpath.controller.loop import LevelLoop
from towpath.controller.pages import Page, Pages

if TYPE_CHECKING:
    from prometheus_client import Metric

log = structlog.get_logger()
AGAIN_AFTER = 30.0
"""Seconds between two attempts at a port that is taken."""


class Sample(NamedTuple):
    """One value of a family."""

    value: float
    labels: Mapping[str, str]


class Measure(NamedTuple):
    """A family of samples. ``counter``: it only grows, and its name ends in ``_total``."""

    name: str
    help: str
    samples: tuple[Sample, ...]
    counter: bool = False


def measure(name: str, text: str, *samples: Sample, counter: bool = False) -> Measure:
    """A family; without samples it is not shown."""
    return Measure(name, text, samples, counter=counter)


def single(name: str, text: str, value: float) -> Measure:
    """A family of one value."""
    return Measure(name, text, (Sample(value, {}),))


def of_loops(loops: Mapping[str, LevelLoop]) -> Iterator[Measure]:
    """How often each loop has run, how often in vain, and how long it took."""
    labelled = [({"loop": name}, loop) for name, loop in loops.items()]
    yield measure(
        "towpath_loop_runs_total",
        "Runs of a loop that brings something to where it should be.",
        *(Sample(loop.runs, labels) for labels, loop in labelled),
        counter=True,
    )
    yield measure(
        "towpath_loop_failures_total",
        "Runs after which not everything was in place.",
        *(Sample(loop.failures, labels) for labels, loop in labelled),
        counter=True,
    )
    yield measure(
        "towpath_loop_seconds_total",
        "Seconds that the runs took, waiting included.",
        *(Sample(loop.seconds, labels) for labels, loop in labelled),
        counter=True,
    )


def exposition(measures: Iterable[Measure]) -> bytes:
    """The text format of Prometheus, with those of the process itself."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    registry = CollectorRegistry()
    found = list(measures)

    class _Collector:
        def collect(self) -> "Iterator[Metric]":
            for one in found:
                names = tuple(one.samples[0].labels) if one.samples else ()
                kind = CounterMetricFamily if one.counter else GaugeMetricFamily
                family = kind(one.name, one.help, labels=names)
                for sample in one.samples:
                    family.add_metric([sample.labels[name] for name in names], sample.value)
                if one.samples:
                    yield family

    registry.register(_Collector())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _build() -> Measure:
    from importlib.metadata import version

    return Measure("towpath_build_info", "The release.", (Sample(1, {"version": version("towpath")}),))


async def serve(port: int, measures: Callable[[], Iterable[Measure]]) -> None:
    """Serve ``/metrics`` on all addresses until cancelled."""

    def page() -> Page:
        text = exposition((_build(), *measures()))
        return Page("200 OK", text, "text/plain; version=0.0.4; charset=utf-8")

    while True:
        try:
            server = await Pages({"/metrics": page}).serve(port, host="")
        except OSError as error:
            log.warning(
                "metrics.refused", port=port, error=error.strerror, remedy="another --metrics-port; tried again"
            )
            await asyncio.sleep(AGAIN_AFTER)
            continue
        async with server:
            await server.serve_forever()
