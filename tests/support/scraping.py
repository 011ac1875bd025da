"""Reading what a process says of itself in Prometheus's format."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]
"""Values by a sample's name and its labels."""


def parsed(text: str) -> Samples:
    """Read an exposition; it is refused where its format is wrong."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


def scrape(url: str) -> Samples:
    """Ask a process."""
    answer = httpx.get(url)
    assert answer.status_code == 200
    return parsed(answer.text)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Give one sample's value, or None where it is not there."""
    return samples.get(name, {}).get(frozenset(labels.items()))
