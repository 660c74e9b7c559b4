"""The subcommands of ``fedcore consortium``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcore.text.wording import counted

if TYPE_CHECKING:
    from fedcore.trust.invitation import JoinResponse

consortium = typer.Typer(
    name="consortium",
    help="Create a consortium, and manage its members.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="In this order: init, invite, (the client joins), admit. All work while the server runs.",
)

Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="Home directory of the federation server.")]
Client = Annotated[str, typer.Argument(metavar="CLIENT", help="Name of a data owner, such as hospital-a.")]

_DEFAULT_HOME = Path("federation")


@consortium.command()
def init(
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the consortium.", show_default=False)],
    server: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Address at which clients will reach the server.", show_default=False),
    ],
    home: Home = _DEFAULT_HOME,
) -> None:
    """Create a consortium: its authority, the server's certificate, the coordinator's key and an empty roster.

    Keep a copy of the home directory where nobody else can read it: its keys make their holder the server.

    Example:
      fedcore consortium init --name heart --server fl.example.org:9092
    """
    from fedcore.trust.fingerprint import words
    from fedcore_server.consortium.members import init as found

    roster = found(home, name, server)
    print(f"created the consortium {roster.consortium} in {home}, for clients that connect to {roster.server}")
    print(f"the coordinator's fingerprint: {words(roster.coordinator)}")
    print(f"\nnext: fedcore consortium invite CLIENT{_at(home)}")


@consortium.command()
def invite(
    client: Client,
    home: Home = _DEFAULT_HOME,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Invitation to write; default invite-CLIENT.json.", show_default=False),
    ] = None,
    valid_days: Annotated[int, typer.Option(min=1, max=90, help="Days until it expires.")] = 7,
    again: Annotated[
        bool, typer.Option("--again", help="Replace an open invitation, or invite a member to bring new keys.")
    ] = False,
) -> None:
    """Write an invitation for one client; it admits once.

    Send the file over a channel that only the client reads: its holder can ask to be admitted as that client.

    Example:
      fedcore consortium invite hospital-a
    """
    from fedcore.trust.identity import check_client_name
    from fedcore_server.consortium.members import invite as invite_client

    path = out or Path(f"invite-{check_client_name(client)}.json")
    invitation = invite_client(home, client, valid_days, again=again, out=path)
    print(f"{path}: admits {client} once, until {invitation.expires}")
    print(f"\nnext: send it to {client}, who runs: fedcore client join {path.name} --home {client}")
    print(f"then: fedcore consortium admit response-{client}.json{_at(home)}")


@consortium.command()
def admit(
    response: Annotated[Path, typer.Argument(metavar="RESPONSE", help="File that the client sent back.")],
    home: Home = _DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="The words were compared already; do not ask.")] = False,
) -> None:
    """Put a client on the roster, after comparing its fingerprint with it on the phone.

    Call a number that you know, not one from the message that brought the file.

    Example:
      fedcore consortium admit response-hospital-a.json
    """
    from fedcore.trust.invitation import JoinResponse
    from fedcore_server.consortium.members import admit as admit_client
    from fedcore_server.consortium.members import check_response

    answer = JoinResponse.from_file(response)
    check_response(home, answer)
    print(f"{answer.client}  {answer.fingerprint}")
    if not yes:
        _ask_about(answer)
    roster = admit_client(home, answer)
    print(f"admitted {answer.client}; roster version {roster.version} has {counted(len(roster.members), 'member')}")


@consortium.command()
def remove(client: Client, home: Home = _DEFAULT_HOME) -> None:
    """Take a client off the roster, or withdraw its open invitation.

    A running server asks it for nothing more and takes nothing more from it.

    Example:
      fedcore consortium remove hospital-a
    """
    from fedcore_server.consortium.home import ConsortiumHome
    from fedcore_server.consortium.members import remove as remove_client

    before = ConsortiumHome.open(home).roster().version
    roster = remove_client(home, client)
    what = "removed" if roster.version != before else "withdrew the invitation of"
    print(f"{what} {client}; roster version {roster.version} has {counted(len(roster.members), 'member')}")


@consortium.command()
def renew(home: Home = _DEFAULT_HOME) -> None:
    """Renew the server's certificate, which is valid for 90 days; clients need no change.

    It is made for the address in consortium.toml. A running server uses it after its next start.

    Example:
      fedcore consortium renew
    """
    from fedcore_server.consortium.members import renew_certificate

    print(f"the server's certificate is valid until {renew_certificate(home).isoformat(timespec='seconds')}")


@consortium.command()
def show(
    home: Home = _DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Show the members with their fingerprints, open invitations, and when certificates expire.

    Example:
      fedcore consortium show --json
    """
    import json
    from datetime import UTC, datetime

    from fedcore_server.consortium.summary import show as sum_up

    summary = sum_up(home)
    if as_json:
        print(json.dumps(summary.to_json(), indent=2))
        return
    for line in summary.lines(datetime.now(UTC)):
        print(line)


def _ask_about(answer: JoinResponse) -> None:
    if not typer.confirm("does the client read out the same words?", default=False):
        print(f"not admitted; if somebody changed the file on the way, invite {answer.client} --again")
        raise typer.Exit(1)


def _at(home: Path) -> str:
    return "" if home == _DEFAULT_HOME else f" --home {home}"
