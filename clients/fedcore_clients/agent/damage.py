"""What must be intact in a client's home before it connects."""

from __future__ import annotations

from contextlib import suppress

from fedcore.errors import TrustError
from fedcore.trust.authority import check_authority
from fedcore.trust.damage import NeededFile, refuse_damaged
from fedcore.trust.document import read_bounded
from fedcore.trust.identity import PublicIdentity
from fedcore.trust.invitation import JoinResponse
from fedcore.trust.roster import Roster
from fedcore_clients.agent.home import ClientHome

_MAX_BYTES = 4 * 1024 * 1024


def refuse_damaged_home(home: ClientHome) -> None:
    """Check that keys, certificate and roster of a home can be read, and are its own.

    Raises:
        TrustError: Names every damaged or foreign file, and says what to do.
    """
    join = f"have the operator run fedcore consortium invite {home.settings().name} --again, and join in a new home"
    lost = f"Restore it from a backup of the home; without one, {join}"
    old = (
        f"Restore it from a backup of the home, or remove {home.roster}: the next request brings the newest roster. If "
        f"it is right, {home.coordinator_key} is another coordinator's: restore that"
    )
    refuse_damaged(
        [
            NeededFile(path=home.identity_key, read=lambda: _check_identity(home), advice=lost),
            NeededFile(path=home.flower_key, read=lambda: _check_flower(home), advice=lost),
            NeededFile(path=home.coordinator_key, read=home.coordinator, advice=lost),
            NeededFile(path=home.authority_certificate, read=lambda: _check_authority(home), advice=lost),
            NeededFile(path=home.roster, read=lambda: _check_roster(home), advice=old),
        ]
    )


def _check_identity(home: ClientHome) -> None:
    key, response = home.identity().public.key, _response(home)
    if response is not None and response.identity_key != key:
        raise TrustError(
            f"{home.identity_key} holds another key than {home.response}, with which this client was admitted"
        )


def _check_flower(home: ClientHome) -> None:
    key, response = home.flower().public_bytes, _response(home)
    if response is not None and response.flower_key != key:
        raise TrustError(
            f"{home.flower_key} holds another key than {home.response}, with which this client was admitted"
        )


def _response(home: ClientHome) -> JoinResponse | None:
    """The answer to the invitation; it has been used, so a missing or damaged one does no harm."""
    with suppress(TrustError):
        return JoinResponse.from_file(home.response)
    return None


def _check_authority(home: ClientHome) -> None:
    content = read_bounded(home.authority_certificate, what="the authority's certificate", max_bytes=_MAX_BYTES)
    check_authority(content.decode(errors="replace"))


def _check_roster(home: ClientHome) -> None:
    coordinator: PublicIdentity | None = None
    with suppress(TrustError):  # has its own check
        coordinator = home.coordinator()
    if coordinator is None or not home.roster.exists():
        return
    Roster.read(read_bounded(home.roster, what="the roster", max_bytes=_MAX_BYTES), coordinator.key)
