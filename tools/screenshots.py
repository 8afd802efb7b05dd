"""The pictures of the documentation: the status page, ``raccoon top``, and the documentation's own front page.

    python -m tools.screenshots

It needs Chromium, and writes into ``docs/_static``.
"""

from __future__ import annotations

import base64
import html
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from raccoon_tx.testing import TestServer
from tests.integration.chromium import Tab, chromium, site
from tests.integration.kafka_node import free_ports

STATIC = Path(__file__).resolve().parent.parent / "docs" / "_static"

#: Seconds of traffic before the pictures.
TRAFFIC = 45.0

#: What SGR sequences mean here, by their number.
STYLES = {"1": "font-weight:bold", "31": "color:#ff7b6e", "90": "color:#8a94a6"}


def shoot(tab: Tab, name: str, width: int, height: int) -> None:
    """Write what the page shows."""
    tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    time.sleep(1.2)
    picture = base64.b64decode(tab.ask("Page.captureScreenshot", format="png")["data"])
    (STATIC / name).write_bytes(picture)
    print(f"{name}: {len(picture):,} bytes")


def traffic(http: int, grpc: int, over: threading.Event) -> None:
    """Events as a shop would send them, and some that are refused."""
    senders = (
        ("ws", http, "page_view", "web", 400),
        ("http", http, "add_to_cart", "ios", 90),
        ("grpc", grpc, "purchase", "android", 25),
        ("ws", http, "app_opened", "android", 160),
        ("http", http, "no such topic!", "web", 2),
    )
    command = str(Path(sys.executable).with_name("raccoon"))
    begun = []
    for number, (scheme, port, kind, group, _) in enumerate(senders):
        address = f"{scheme}://127.0.0.1:{port}"
        flags = ["send", "--to", address, "--type", kind, "--id", f"client-{number}", "--group", group, "-"]
        begun.append(subprocess.Popen([command, *flags], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
    while not over.wait(0.25):
        for (*_, rate), sending in zip(senders, begun, strict=True):
            assert sending.stdin is not None
            with suppress(OSError):
                sending.stdin.write(b'{"article": 7}\n' * (rate // 4 or 1))
                sending.stdin.flush()
    for sending in begun:
        assert sending.stdin is not None
        with suppress(OSError):
            sending.stdin.close()
        sending.wait(30)


def top(metrics: int, seconds: float) -> str:
    """The last screen of ``raccoon top`` on a terminal, as HTML."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="40")
        command = str(Path(sys.executable).with_name("raccoon"))
        os.execv(command, [command, "top", "--from", f"http://127.0.0.1:{metrics}/metrics"])
    said, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    os.waitpid(pid, 0)
    screen = said.decode().split("\x1b[H")[-1].split("\x1b[J")[0].replace("\x1b[K", "").replace("\r", "")
    return _html(screen.replace(f":{metrics}/", ":9090/"))


def _html(screen: str) -> str:
    shown, open_spans = [], 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", screen):
        if not part.startswith("\x1b"):
            shown.append(html.escape(part))
        elif styles := [STYLES[code] for code in part[2:-1].split(";") if code in STYLES]:
            shown.append(f'<span style="{";".join(styles)}">')
            open_spans += 1
        else:
            shown.append("</span>" * open_spans)
            open_spans = 0
    style = "margin:0;padding:1em;background:#12161d;color:#dfe5ee;font:14px/1.35 'DejaVu Sans Mono',monospace"
    body = f'<body style="margin:0;background:#12161d"><pre style="{style}">{"".join(shown)}</pre>'
    return f'<!doctype html><meta charset="utf-8">{body}'


def main() -> None:
    status, metrics = free_ports(2)
    settings = {"server.status.port": status, "metric.prometheus.enabled": True, "metric.prometheus.port": metrics}
    over = threading.Event()
    with TestServer(settings) as server, chromium() as browser, tempfile.TemporaryDirectory() as folder:
        sending = threading.Thread(target=traffic, args=(server.http_port, server.grpc_port, over))
        sending.start()
        try:
            with browser.tab() as tab:
                tab.open(f"http://127.0.0.1:{status}/")
                time.sleep(TRAFFIC)
                shoot(tab, "status.png", 1100, 760)
            screen = top(metrics, 7.0)
        finally:
            over.set()
            sending.join()
        with site({"/": ("text/html", screen)}) as origin, browser.tab() as tab:
            tab.open(f"{origin}/")
            shoot(tab, "top.png", 900, 400)
        source = str(STATIC.parent)
        subprocess.run([sys.executable, "-m", "sphinx", "-q", "-b", "html", source, folder], check=True)
        with browser.tab() as tab:
            tab.open(f"file://{folder}/index.html")
            shoot(tab, "front-page.png", 1200, 800)


if __name__ == "__main__":
    main()
