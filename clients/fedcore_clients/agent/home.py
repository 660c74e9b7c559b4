"""The directory of a data owner's client: where its files are, and who it is."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from pathlib import Path

from fedcore.errors import TrustError
from fedcore.trust.address import parse_address
from fedcore.trust.document import Document, Text, read_bounded
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity, PublicIdentity, check_client_name, check_name
from fedcore.trust.private_file import create_private, read_private

_MAX_BYTES = 65_536

_MOST_DAYS = 30


class ClientSettings(Document):
    """Content of ``client.toml``.

    Attributes:
        name: The client's own.
        server: ``HOST:PORT``.
    """

    name: Text
    consortium: Text
    server: Text

    def model_post_init(self, _: object) -> None:
        check_client_name(self.name)
        check_name(self.consortium)
        parse_address(self.server)


class ClientHome:
    """A client's home directory.

    Attributes:
        roster: The newest roster that the client has seen.
        response: Its answer to the invitation, as it was sent to the operator.
        outbox: Sealed replies, to be sent again unchanged.
        memory: What the client keeps between rounds, for algorithms that need it; a folder for each run.
        spends: The account of earlier versions; imported into the ledger when it is found.
        lock: Held by the one process that runs the client.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "client.toml"
        self.identity_key = path / "identity.key"
        self.flower_key = path / "flower.key"
        self.authority_certificate = path / "ca.crt"
        self.coordinator_key = path / "coordinator.pub"
        self.response = path / "response.json"
        self.roster = path / "roster.json"
        self.policy = path / "policy.toml"
        self.events = path / "events.jsonl"
        self.ledger = path / "ledger.db"
        self.outbox = path / "outbox"
        self.spends = path / "spends.jsonl"
        self.approvals = path / "approvals.json"
        self.spool = path / "spool"
        self.memory = path / "memory"
        self.lock = path / "lock"
        self.secret_file = path / "held-out.secret"

    def forget_old_runs(self) -> None:
        """Remove what was kept for runs that asked nothing for `_MOST_DAYS`: nobody says that such a run is over."""
        oldest = time.time() - _MOST_DAYS * 24 * 3600
        for folder in self.memory.glob("*"):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)

    def memory_of(self, run: str) -> Path:
        """Where vectors of a run are kept; its name comes from outside, so that the folder's is a hash of it."""
        return self.memory / hashlib.sha256(run.encode()).hexdigest()[:32]

    def settings(self) -> ClientSettings:
        """Who this client is, and its server's address.

        Raises:
            TrustError: It has not joined, or the file is damaged.
        """
        if not self.settings_file.is_file():
            raise TrustError(
                f"{self.path} is not the home of a client that has joined: expected a client.toml in it; name another "
                f"--home, or: fedcore client join INVITE --home {self.path}"
            )
        return ClientSettings.of_settings(self.settings_file)

    def identity(self) -> Identity:
        """The client's signing identity.

        Raises:
            TrustError: It has not joined, or its key is absent, damaged, or readable by others.
        """
        return Identity.load(self.identity_key, self.settings().name)

    def flower(self) -> FlowerKey:
        """Raises TrustError: The key is absent, damaged, or readable by others."""
        return FlowerKey.load(self.flower_key)

    def coordinator(self) -> PublicIdentity:
        """The signer that the client has trusted since it joined.

        Raises:
            TrustError: The file is absent or damaged.
        """
        content = read_bounded(self.coordinator_key, what="the coordinator's key", max_bytes=_MAX_BYTES)
        try:
            return PublicIdentity(name=COORDINATOR, key=bytes.fromhex(content.decode()))
        except (ValueError, TrustError) as error:
            raise TrustError(
                f"the coordinator's key {self.coordinator_key}: expected 64 hexadecimal digits, found something else"
            ) from error

    def secret(self) -> int:
        """The number from which held-out rows are drawn; made at first use, and stored.

        Raises:
            TrustError: The file is damaged, or readable by others.
        """
        if not self.secret_file.exists():
            create_private(self.secret_file, f"{secrets.randbits(62)}\n".encode())
        content = read_private(self.secret_file, what="the secret of the held-out rows")
        if not content.strip().isdigit():
            raise TrustError(f"{self.secret_file} is damaged; expected a number, as it was made at the first start")
        return int(content)
