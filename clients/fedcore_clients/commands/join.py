"""The subcommand ``fedcore client join``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore.trust.invitation import JoinResponse


def join(
    invitation: Annotated[Path, typer.Argument(metavar="INVITE", help="File that the operator sent.")],
    home: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Directory of the client; made if absent.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Response to write; default response-CLIENT.json.", show_default=False),
    ] = None,
) -> None:
    """Join a consortium: make this client's keys here, and write a response for the operator.

    The private keys stay in the home directory. Nothing is sent: you send the response yourself.

    Example:
      fedcore client join invite-hospital-a.json --home hospital-a
    """
    from fedcore_clients.agent.join import join as join_consortium

    response = join_consortium(invitation, home)
    path = out or Path(f"response-{response.client}.json")
    _write(path, response, kept=home / "response.json")
    print(f"{response.client} has joined {response.consortium} on its side; its keys are in {home}")
    print(f"its fingerprint: {response.fingerprint}")
    print(f"\nnext: send {path} to the operator; it holds no secret")
    print("then: call the operator, at a number that you know, and read the words of the fingerprint out")
    print(f"meanwhile, write what this client allows: fedcore client policy --out {home / 'policy.toml'}")
    print(f"when admitted: fedcore client start --home {home} --data NAME=PATH")


def _write(path: Path, response: JoinResponse, *, kept: Path) -> None:
    """Write the response; replace only an older one of this client."""
    from fedcore.errors import TrustError
    from fedcore.storage.files import write_whole

    if path.exists() and not _is_older(path, response):
        raise TrustError(
            f"{path} exists and is not changed; you have joined: send {kept} to the operator instead, and read out "
            f"its fingerprint, {response.fingerprint}"
        )
    write_whole(path, response.to_json())


def _is_older(path: Path, response: JoinResponse) -> bool:
    from fedcore.errors import FedcoreError
    from fedcore.trust.invitation import JoinResponse

    try:
        older = JoinResponse.from_file(path)
    except FedcoreError:
        return False
    return (older.client, older.consortium) == (response.client, response.consortium)
