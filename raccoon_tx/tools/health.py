"""``raccoon health``: whether the server with these settings lives, or is ready, for machines that have no curl."""

from __future__ import annotations

import ssl
from urllib.error import HTTPError, URLError
from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler, build_opener

import click

from raccoon_tx.settings import Settings, TlsSettings
from raccoon_tx.tools.look import printable, shortened

#: Seconds that an answer may take, and bytes of it that are shown.
TIMEOUT, LARGEST = 3.0, 10_000


def run(settings: Settings, ready: bool) -> int:
    """Ask, and print the answer. Blocks. :return: 0 if it is a good one, else 1."""
    url = f"{'https' if settings.tls.certificate else 'http'}://{_host(settings)}:{settings.http.port}"
    url += "/readyz" if ready else "/healthz"
    handlers: list[BaseHandler] = [ProxyHandler({})]
    try:
        if settings.tls.certificate:
            handlers.append(HTTPSHandler(context=_context(settings.tls)))
        with build_opener(*handlers).open(url, timeout=TIMEOUT) as answer:
            text, status = answer.read(LARGEST), 0
    except HTTPError as error:
        text, status = error.read(LARGEST), 1
    except (URLError, OSError) as error:
        click.echo(f"no answer from {url}: {getattr(error, 'reason', error)}", err=True)
        return 1
    click.echo(shortened(printable(text.decode("utf-8", "replace").strip()), LARGEST))
    return status


def _host(settings: Settings) -> str:
    host = settings.http.host
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _context(tls: TlsSettings) -> ssl.SSLContext:
    # It is this machine, whatever name the certificate bears.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if tls.client_ca:
        context.load_cert_chain(tls.certificate, tls.private_key)
    return context
