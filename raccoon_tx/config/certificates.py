"""Whether the files for TLS can be used: looked at before anything starts. Nobody is ever asked for a passphrase."""

from __future__ import annotations

import ssl

#: What OpenSSL says of a certificate that is too weak for it.
_WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too small",
    "CA_KEY_TOO_SMALL": "the key of an authority in its chain is too small",
    "CA_MD_TOO_WEAK": "it is signed with a digest that is too weak",
}

#: Names of the setting and what is wrong with its file, in a few words.
Problem = tuple[str, str]


def check_certificates(certificate: str, private_key: str, client_ca: str = "") -> list[Problem]:
    """Read the files as a server would.

    :return: for each that cannot be used ``certificate``, ``private_key`` or ``client_ca``, and why.
    """
    problems: list[Problem] = []
    for name, path in ("certificate", certificate), ("client_ca", client_ca):
        if path:
            problem = _certificates_in(path)
            if problem:
                problems.append((name, problem))
    if not any(name == "certificate" for name, _ in problems):
        problems += _pair(certificate, private_key)
    return problems


def _certificates_in(path: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "has no certificate in PEM form, or a damaged one"
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    return ""


def _pair(certificate: str, private_key: str) -> list[Problem]:
    asked: list[bool] = []

    def no_passphrase() -> bytes:
        asked.append(True)
        return b""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, no_passphrase)
    except ssl.SSLError as problem:
        if asked:
            return [("private_key", "is encrypted: the server cannot ask for its passphrase")]
        if problem.reason == "KEY_VALUES_MISMATCH":
            return [("private_key", "is not the key of the certificate")]
        if problem.reason in _WEAK:
            return [("certificate", f"cannot be used: {_WEAK[problem.reason]}")]
        return [("private_key", "has no private key in PEM form, or a damaged one")]
    except OSError as problem:
        return [("private_key", f"cannot be read: {problem.strerror}")]
    return []
