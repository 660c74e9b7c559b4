"""What ``fedcore doctor`` looks at in a server's home, before a run that would fail in it."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from fedcore.checkup.finding import Check, Finding, ok, problem, skipped, warning
from fedcore.checkup.home import certificate, chain, private_files
from fedcore.checkup.machine import disk
from fedcore.checkup.route import PULL, Unreachable, ask
from fedcore.errors import DeploymentError, StorageError
from fedcore.plan import RunPlan
from fedcore.storage.lock import is_locked
from fedcore.trust.address import parse_address
from fedcore.trust.invitation import Invitation
from fedcore_server.checkup.plan import model_bytes_if_known, plan_findings
from fedcore_server.consortium.certificates import load_certificate, load_key
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.flower.superlink.application import refuse_grpc
from fedcore_server.flower.superlink.certificate import check_certificate

_CLOSED = ("/v1/control/list-runs", "/v1/runtime/acquire-task", "/docs", "/openapi.json", "/")
_REFUSED = (403, 404, 405)
_RENEW = "fedcore consortium renew"
_REQUEST_AND_LOG = 3
_SQLITE = b"SQLite format 3\x00"


def server_checks(home: ConsortiumHome, *, plan: RunPlan | None, clock: Callable[[], datetime]) -> list[Check]:
    """All checks of a server's home.

    Args:
        plan: The plan that is to be run, if it is known.
    """
    renew = f"{_RENEW} --home {home.path}; then restart the server"
    listed: dict[str, Callable[[], Iterator[Finding]]] = {
        "home": lambda: _consortium(home),
        "keys": lambda: _keys(home),
        "certificate": lambda: _certificate(home, clock(), renew),
        "authority": lambda: certificate(
            "authority",
            home.authority_certificate,
            now=clock(),
            advice="create a new consortium, and invite all clients again",
        ),
        "roster": lambda: _roster(home),
        "process": lambda: _process(home),
        "route": lambda: _route(home),
        "database": lambda: _database(home.path / "flower.db"),
        "events": lambda: _events(home.path),
        "disk": lambda: _disk(home.path, plan),
    }
    checks = [Check(name=name, run=run) for name, run in listed.items()]
    if plan is not None:
        checks.append(Check(name="plan", run=lambda: plan_findings(plan, home.roster())))
    return checks


def _consortium(home: ConsortiumHome) -> Iterator[Finding]:
    settings = home.settings()
    yield ok("home", f"{home.path} holds the consortium {settings.name}, reached at {settings.address}")


def _keys(home: ConsortiumHome) -> Iterator[Finding]:
    invitations = sorted(home.invitations.glob("*.json"))
    return private_files(
        home.path,
        [
            (home.authority_key, lambda: load_key(home.authority_key)),
            (home.server_key, lambda: load_key(home.server_key)),
            (home.coordinator_key, home.coordinator),
            *((path, lambda path=path: Invitation.from_file(path)) for path in invitations),
        ],
    )


def _certificate(home: ConsortiumHome, now: datetime, renew: str) -> Iterator[Finding]:
    found = list(certificate("certificate", home.server_certificate, now=now, advice=renew))
    host, _ = parse_address(home.settings().address)
    with suppress(ValueError):
        host = str(ipaddress.ip_address(host))
    try:
        check_certificate(home.server_certificate, home.server_key, name=host.lower(), now=now)
        load_certificate(home.server_certificate).verify_directly_issued_by(
            load_certificate(home.authority_certificate)
        )
    except DeploymentError as error:
        found = [each for each in found if each.state == "problem"] or [problem("certificate", str(error), renew)]
    except Exception as error:  # cryptography's InvalidSignature, ValueError and TypeError
        message = f"it is not signed by this consortium's authority ({type(error).__name__})"
        found = [problem("certificate", message, renew)]
    yield from found


def _roster(home: ConsortiumHome) -> Iterator[Finding]:
    roster, address = home.roster(), home.settings().address
    names = [member.name for member in roster.members]
    if roster.server != address:
        message = f"its server address is {roster.server}, and that of consortium.toml is {address}"
        yield warning("roster", message, "invite the clients again, so that they get the new address")
    if names:
        yield ok("roster", f"version {roster.version}: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}")
    else:
        yield warning("roster", "nobody takes part yet", "fedcore consortium invite CLIENT")


def _process(home: ConsortiumHome) -> Iterator[Finding]:
    refuse_grpc()
    if is_locked(home.path / "lock"):
        trouble = _facts(home).get("problem")
        if trouble:
            yield problem("process", f"a server runs in this home, and does not serve clients: {trouble}")
        else:
            yield ok("process", "a server runs in this home")
    else:
        yield ok("process", "no server runs in this home; start it with: fedcore server start")


def _route(home: ConsortiumHome) -> Iterator[Finding]:
    address = home.settings().address
    if not is_locked(home.path / "lock"):
        yield _not_served(home, address)
        return
    try:
        status = ask(address, home.authority_certificate, PULL).status
    except Unreachable as error:
        yield from _from_here_only(home, address, error)
        return
    if status == 401:
        yield ok("route", f"{address} requires clients to authenticate")
    else:
        advice = "is another server, or a proxy with rules of its own, at this address?"
        yield problem("route", f"{address} answers an unauthenticated request with HTTP {status}, expected 401", advice)
    yield _closed(home, address)


def _not_served(home: ConsortiumHome, address: str) -> Finding:
    try:
        ask(address, home.authority_certificate, PULL)
    except Unreachable as error:
        if error.connected:
            return problem("route", f"another program listens at {address}: {error}", "stop it, or use another port")
        return skipped("route", "no server runs in this home, so there is nothing to reach")
    return warning("route", f"a server of this consortium answers at {address}, and not from this home")


def _from_here_only(home: ConsortiumHome, address: str, error: Unreachable) -> Iterator[Finding]:
    """The address that clients use may be unreachable from here because of the network; try the port itself."""
    local = f"127.0.0.1:{_bound_port(home, parse_address(address)[1])}"
    try:
        ask(local, home.authority_certificate, PULL)
    except Unreachable:
        yield problem("route", str(error), error.advice)
        return
    message = f"the server answers at {local}, but from this machine not at {address}: {error}"
    yield warning(
        "route", message, "run fedcore doctor at a client: only a client can test whether it reaches the server"
    )
    yield _closed(home, local)


def _closed(home: ConsortiumHome, address: str) -> Finding:
    """Flower's other interfaces know no accounts: on the public port none of them may answer."""
    answers = [
        (path, status)
        for path in _CLOSED
        for method in ("GET", "POST")
        if (status := ask(address, home.authority_certificate, path, method=method).status) not in _REFUSED
    ]
    if answers:
        message = ", ".join(f"{path} (HTTP {status})" for path, status in dict(answers).items())
        advice = "stop the server: anyone who reaches this port can control it; start it with fedcore server start"
        return problem("exposure", f"{address} answers on {message}", advice)
    return ok("exposure", f"{address} answers only what clients need")


def _bound_port(home: ConsortiumHome, default: int) -> int:
    with suppress(ValueError, TypeError):
        return int(_facts(home).get("port", default))
    return default


def _facts(home: ConsortiumHome) -> dict[str, Any]:
    """What a running server writes about itself; empty where its file is absent or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads((home.path / "server.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _database(path: Path) -> Iterator[Finding]:
    if not path.exists():
        if is_locked(path.with_name("lock")):
            yield problem("database", f"{path} is gone while the server runs", "restart the server: it makes a new one")
            return
        yield skipped("database", "none yet; the server makes it when it starts")
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise StorageError(f"the database {path} cannot be read: {error.strerror or error}") from error
    if start and start != _SQLITE:
        yield problem(
            "database", f"{path} is damaged: expected an SQLite database", "move it away: runs continue without it"
        )
    elif not os.access(path, os.W_OK):
        yield problem("database", f"{path} may not be written by this user", "run as the user that owns the home")
    else:
        yield ok("database", f"{path.stat().st_size / 1_000_000:.1f} MB")


def _disk(home: Path, plan: RunPlan | None) -> Iterator[Finding]:
    """Room for a run: the database holds a round's request and replies, and the newest of them twice, in its log."""
    if plan is None:
        return disk(home)
    replies = plan.federation.cohort_size or plan.federation.clients
    return disk(home, model_bytes=model_bytes_if_known(plan), messages=replies + _REQUEST_AND_LOG)


def _events(home: Path) -> Iterator[Finding]:
    yield from chain(home / "events.jsonl")
    for path in sorted(home.glob("runs/*/events.jsonl")):
        yield from chain(path)
