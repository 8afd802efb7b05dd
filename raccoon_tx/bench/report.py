"""What a run came to: for people and for programs."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from raccoon_tx.bench.tally import Tally

#: Share of a core from which on this client is what holds things up.
BUSY = 0.85

_NAMES = {"websocket": "WebSocket", "rest": "REST", "grpc": "gRPC"}


@frozen(kw_only=True)
class Run:
    """What was asked for, and what came of it.

    :ivar elapsed: seconds of sending. :ivar cpu: seconds of processor time that this client took.
    :ivar server_cpu: that the server took, if it is ours.
    """

    url: str
    transport: str
    format: str
    connections: int
    depth: int
    events: int
    size: int
    rate: float
    tally: Tally
    elapsed: float
    cpu: float
    server_cpu: float | None

    @property
    def good(self) -> bool:
        """Whether every batch was accepted, and there were some."""
        tally = self.tally
        return bool(tally.accepted) and not tally.refused and not tally.unanswered

    @property
    def busy(self) -> float:
        """The part of a core that this client took."""
        return self.cpu / self.elapsed if self.elapsed else 0.0


def as_json(run: Run) -> dict[str, Any]:
    """For programs. Latencies are in milliseconds; everything else that counts counts events, but ``refused``."""
    tally = run.tally
    accepted = tally.accepted * run.events
    found = {
        "to": run.url,
        "transport": run.transport,
        "format": run.format,
        "connections": run.connections,
        "in_flight": run.depth,
        "events_per_batch": run.events,
        "event_bytes": run.size,
        "rate": run.rate,
        "seconds": round(run.elapsed, 3),
        "accepted": accepted,
        "accepted_per_second": round(accepted / run.elapsed, 1) if run.elapsed else 0.0,
        "accepted_batches": tally.accepted,
        "refused_batches": dict(tally.refused),
        "unanswered_batches": tally.unanswered,
        "unsent_batches": tally.unsent,
        "p50_ms": round(tally.percentile(0.5) * 1e3, 3),
        "p99_ms": round(tally.percentile(0.99) * 1e3, 3),
        "slowest_ms": round(tally.slowest * 1e3, 3),
        "own_cpu": round(run.busy, 3),
    }
    if run.server_cpu is not None and accepted:
        found["server_cpu"] = round(run.server_cpu / run.elapsed, 3)
        found["server_cpu_us_per_event"] = round(run.server_cpu / accepted * 1e6, 3)
    return found


def as_text(run: Run) -> str:
    """For people."""
    found, tally = as_json(run), run.tally
    per_second = found["accepted_per_second"]
    how = f"{run.rate:,.0f} events/s offered" if run.rate else f"{run.depth} unanswered on each"
    lines = [
        f"{_NAMES[run.transport]}, {run.format}, {run.url}",
        f"{run.connections:,} connections, {how}, batches of {run.events:,} events of {run.size:,} bytes, "
        f"{run.elapsed:.1f} s",
        "",
        f"  accepted     {found['accepted']:>12,} events   {per_second:,.0f} events/s, "
        f"{per_second / run.events:,.0f} batches/s",
        f"  refused      {sum(tally.refused.values()):>12,} batches",
    ]
    for reason, count in sorted(tally.refused.items(), key=lambda item: -item[1]):
        lines.append(f"               {count:>12,}   {reason}")
    lines.append(f"  unanswered   {tally.unanswered:>12,} batches")
    if tally.unsent:
        lines.append(f"  not sent     {tally.unsent:>12,} batches   every connection was waiting for an answer")
    if tally.accepted:
        lines.append(
            f"  answered in  {found['p50_ms']:>12.2f} ms p50   {found['p99_ms']:.2f} ms p99, "
            f"{found['slowest_ms']:.2f} ms the slowest"
        )
    if "server_cpu" in found:
        lines.append(
            f"  server CPU   {found['server_cpu'] * 100:>12.0f} % of a core   "
            f"{found['server_cpu_us_per_event']:.2f} us per event, broker included"
        )
    lines.append(f"  own CPU      {found['own_cpu'] * 100:>12.0f} % of a core")
    if run.busy > BUSY:
        lines.append("")
        lines.append("This client had no time left: the server may be able to take more than this.")
    return "\n".join(lines)
