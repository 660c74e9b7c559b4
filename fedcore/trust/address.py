"""The address of a server: ``HOST:PORT``."""

from __future__ import annotations

import ipaddress
import re

from fedcore.errors import TrustError

_FORM = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([1-9][0-9]{0,4})")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_address(text: str) -> tuple[str, int]:
    """Host, an IPv6 address without its brackets, and port; raises `TrustError` for anything else."""
    form = _FORM.fullmatch(text)
    if form is None or int(form[3]) > 65_535 or not (_is_ip(form[1]) if form[1] else _is_host(form[2])):
        raise TrustError(
            "expected the server's address as clients reach it, HOST:PORT, such as fl.example.org:9092 or "
            f"[2001:db8::1]:9092, found {text[:80]!r}"
        )
    return form[1] or form[2], int(form[3])


def _is_host(host: str) -> bool:
    # What looks like an IPv4 address must be one: 999.1.1.1 is not a host name.
    if host.rpartition(".")[2].isdigit():
        return _is_ip(host)
    return all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_ip(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
