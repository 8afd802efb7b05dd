"""What a running server has counted, read from its ``/metrics``."""

from __future__ import annotations

import time
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

from raccoon_tx.metrics.view import Labels, Scrape, View, as_json, view
from raccoon_tx.tools.look import Trouble

__all__ = ["Scrape", "View", "as_json", "read", "scrape", "view"]

#: Seconds that an answer may take, and bytes that it may have.
TIMEOUT, LARGEST = 5.0, 32_000_000

#: Is there even if nothing has ever happened.
_ALWAYS = "conn_close_err_count"


def scrape(url: str) -> Scrape:
    """Ask a server. Blocks. :raises Trouble: there is no answer, or none of ours."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT) as answer:
            text = answer.read(LARGEST).decode("utf-8", "replace")
    except HTTPError as error:
        raise Trouble(f"{url} answers {error.code}: is it the address of the metrics?") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        hint = "start the server with --metric.prometheus.enabled, or say where with --from"
        raise Trouble(f"no metrics from {url}: {words}; {hint}") from None
    return read(text, time.monotonic(), url)


def read(text: str, at: float, url: str = "it") -> Scrape:
    """What a server has written. :raises Trouble: it is something else."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError):
        raise Trouble(f"what {url} answers are not metrics") from None
    if not any(name.startswith(_ALWAYS) for name in samples):
        raise Trouble(f"{url} has metrics, but not those of raccoon_tx")
    return Scrape(at, samples)
