"""The directory that holds a consortium: where its files are, and reading them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from fedcore.errors import StorageError, TrustError
from fedcore.storage.files import write_whole
from fedcore.trust.address import parse_address
from fedcore.trust.document import Document, Text, read_bounded
from fedcore.trust.identity import COORDINATOR, Identity, check_client_name, check_name
from fedcore.trust.invitation import Invitation
from fedcore.trust.private_file import read_private
from fedcore.trust.roster import Roster

_MAX_BYTES = 4 * 1024 * 1024


class ConsortiumSettings(Document):
    """Content of ``consortium.toml``.

    Attributes:
        address: ``HOST:PORT`` as clients reach the server.
    """

    name: Text
    address: Text

    def model_post_init(self, _: object) -> None:
        check_name(self.name)
        parse_address(self.address)


class ConsortiumHome:
    """The part of a server's home directory that says who is who."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "consortium.toml"
        self.authority_key = path / "ca.key"
        self.authority_certificate = path / "ca.crt"
        self.server_key = path / "server.key"
        self.server_certificate = path / "server.crt"
        self.coordinator_key = path / "coordinator.key"
        self.roster_file = path / "roster.json"
        self.invitations = path / "invitations"

    @classmethod
    def open(cls, path: Path) -> ConsortiumHome:
        """Raises TrustError: There is no consortium in it, or its file is damaged."""
        home = cls(path)
        home.settings()
        return home

    def settings(self) -> ConsortiumSettings:
        """Raises TrustError: There is no consortium here, or its file is damaged."""
        if not self.settings_file.is_file():
            raise TrustError(
                f"{self.path} holds no consortium: expected a consortium.toml in it; name another --home, or make one "
                f"with: fedcore consortium init --name NAME --server HOST:PORT --home {self.path}"
            )
        return ConsortiumSettings.of_settings(self.settings_file)

    def coordinator(self) -> Identity:
        """The signing identity of the server.

        Raises:
            TrustError: Its key is absent, damaged, or readable by others.
        """
        return Identity.load(self.coordinator_key, COORDINATOR)

    def roster(self) -> Roster:
        """Raises TrustError: It is absent, or was not signed by this consortium's coordinator."""
        text = read_bounded(self.roster_file, what="the roster", max_bytes=_MAX_BYTES)
        return Roster.read(text, self.coordinator().public.key)

    def publish(self, roster: Roster) -> None:
        """Sign a roster and replace the old one.

        Raises:
            StorageError: It cannot be written; the old one stays.
        """
        write_whole(self.roster_file, roster.signed(self.coordinator()))

    def invitation_file(self, client: str) -> Path:
        """Raises TrustError: A client cannot have this name."""
        return self.invitations / f"{check_client_name(client)}.json"

    def invitation(self, client: str) -> Invitation | None:
        """Raises TrustError: It is damaged, or readable by others."""
        path = self.invitation_file(client)
        return Invitation.from_json(read_private(path, what="the invitation")) if path.exists() else None

    def open_invitations(self) -> list[Invitation]:
        """Expired ones too, sorted by the clients' names."""
        names = sorted(path.stem for path in self.invitations.glob("[a-z0-9]*.json"))
        return [invitation for name in names if (invitation := self.invitation(name)) is not None]

    @contextlib.contextmanager
    def using_up(self, client: str) -> Iterator[None]:
        """Take an open invitation away before it takes effect, and give it back if that fails.

        A crash between the two costs an invitation, and never lets one admit twice.
        """
        invitation = self.invitation_file(client)
        aside = invitation.with_name(f".{invitation.name}")  # no client's name begins with a dot
        invitation.replace(aside)
        try:
            yield
        except BaseException:
            aside.replace(invitation)
            raise
        aside.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process or thread from changing roster and invitations.

        Raises:
            StorageError: The lock's file cannot be made.
        """
        path = self.path / "roster.lock"
        try:
            held = FileLock(path, mode=0o600).acquire()
        except OSError as error:
            raise StorageError(f"the lock {path} cannot be made: {error.strerror or error}") from error
        with held:
            yield
