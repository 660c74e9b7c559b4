"""What must be intact in a server's home before it serves clients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from cryptography.exceptions import InvalidSignature

from fedcore.errors import TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.damage import NeededFile, refuse_damaged
from fedcore_server.consortium.certificates import load_certificate
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.flower.superlink.certificate import check_certificate


def refuse_damaged_home(home: ConsortiumHome, now: datetime) -> None:
    """Check that keys, certificates and roster of a home can be read, and fit each other.

    Raises:
        TrustError: Names every damaged or foreign file, and says what to do.
    """
    restore = "Restore it from a backup of the home"
    refuse_damaged(
        [
            NeededFile(
                path=home.coordinator_key,
                read=home.coordinator,
                advice=f"{restore}; without one, this is a new consortium: run fedcore consortium init with another "
                "--home, and invite the clients again",
            ),
            NeededFile(
                path=home.roster_file,
                read=lambda: _check_roster(home),
                advice=f"{restore}, or copy roster.json from the home of the client that was asked last: it is the "
                f"same file; if the key is another's, restore {home.coordinator_key} too",
            ),
            NeededFile(
                path=home.authority_certificate,
                read=lambda: load_certificate(home.authority_certificate),
                advice=f"{restore}, or copy ca.crt from the home of a client: it is the same file",
            ),
            NeededFile(
                path=home.server_certificate,
                read=lambda: _check_certificate(home, now),
                advice=f"Make a new one with: fedcore consortium renew --home {home.path}",
            ),
        ]
    )


def _check_roster(home: ConsortiumHome) -> None:
    if _is_whole(home.coordinator):
        home.roster()


def _check_certificate(home: ConsortiumHome, now: datetime) -> None:
    host, _ = parse_address(home.settings().address)
    check_certificate(home.server_certificate, home.server_key, name=host, now=now)
    if not _is_whole(lambda: load_certificate(home.authority_certificate)):
        return
    try:
        load_certificate(home.server_certificate).verify_directly_issued_by(
            load_certificate(home.authority_certificate)
        )
    except (InvalidSignature, ValueError, TypeError) as error:
        raise TrustError(
            f"{home.server_certificate} is not signed by the authority that clients trust, {home.authority_certificate}"
        ) from error


def _is_whole(read: Callable[[], object]) -> bool:
    """Whether a file that has its own check is readable, so that it is reported once."""
    with suppress(TrustError):
        read()
        return True
    return False
