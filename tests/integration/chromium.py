"""A headless Chromium, by its DevTools protocol. It blocks, like the other clients here."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from attrs import define, field
from websockets.sync.client import ClientConnection, connect

#: Seconds that anything may take.
PATIENCE = 30.0

COMMAND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "about:blank",
)


@define(eq=False)
class Tab:
    """One page."""

    _socket: ClientConnection
    _number: int = field(default=0, init=False)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol. Events that come meanwhile are of no interest."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(PATIENCE))
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        said = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def open(self, url: str, until: str = "document.readyState === 'complete'") -> None:
        """Go to a page, and wait until an expression is true there."""
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"location.href === {json.dumps(url)} && ({until})"):
            assert time.monotonic() < deadline, self.run("document.documentElement.outerHTML")
            time.sleep(0.02)


@define(eq=False)
class Chromium:
    """A browser that runs."""

    _port: int

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A page of its own."""
        opener = build_opener(ProxyHandler({}))
        request = Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with opener.open(request, timeout=PATIENCE) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        with connect(address, proxy=None, open_timeout=PATIENCE, max_size=None) as socket:
            tab = Tab(socket)
            yield tab
            tab.ask("Page.close")


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser without a profile."""
    assert COMMAND is not None
    with tempfile.TemporaryDirectory(prefix="raccoon-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [COMMAND, *_FLAGS[:-1], f"--user-data-dir={folder}", _FLAGS[-1]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            told, deadline = Path(folder, "DevToolsActivePort"), time.monotonic() + PATIENCE
            while not told.exists() or "\n" not in told.read_text():
                assert process.poll() is None, "the browser has ended"
                assert time.monotonic() < deadline, "the browser does not start"
                time.sleep(0.02)
            yield Chromium(int(told.read_text().splitlines()[0]))
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def site(files: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """A site with these pages: media type and text by path. :return: its origin."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, text = files.get(self.path, ("", ""))
            body = text.encode()
            self.send_response(200 if media_type else 404)
            self.send_header("Content-Type", media_type or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
