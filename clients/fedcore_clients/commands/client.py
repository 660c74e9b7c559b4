"""``fedcore client``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedcore_clients.commands.join import join
from fedcore_clients.commands.policy import approve, policy

client = typer.Typer(
    name="client",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Take part in a federation, beside your own data.",
    epilog="In this order: join, policy, start. The server's operator admits you in between.",
)
client.command()(join)
client.command()(policy)
client.command()(approve)

Home = Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")]


@client.command()
def start(
    home: Home,
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME=PATH", help="A data set that plans may name, and its path; may be repeated."),
    ],
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:K or mps; default as the plan says.")] = None,
) -> None:
    """Serve requests until Ctrl-C or SIGTERM; each is judged by the policy in the home first.

    Example:
      fedcore client start --home hospital-a --data digits=rows.safetensors
    """
    import signal

    from fedcore.checkup.machine import check_flower
    from fedcore.errors import PlanError

    check_flower()  # before anything of Flower's is imported
    from fedcore.storage.mapped_bytes import return_freed_memory
    from fedcore.text.timed_line import print_timed
    from fedcore_clients.agent.damage import refuse_damaged_home
    from fedcore_clients.agent.home import ClientHome
    from fedcore_clients.policy.settings import Policy
    from fedcore_clients.training.device_name import check_device_name

    if device is not None:
        check_device_name(device)
    at, paths = ClientHome(home), _paths(data)
    refuse_damaged_home(at)
    if not at.policy.is_file():
        raise PlanError(f"no policy at {at.policy}; write one with: fedcore client policy --out {at.policy}")
    allowed = Policy.from_toml(at.policy).data.allowed
    for name in paths.keys() - allowed:
        known = ", ".join(allowed) or "none"
        print_timed(f"note: the policy lists no data set {name!r}, so requests for it are refused; it lists {known}")
    from fedcore.storage.lock import holding
    from fedcore_clients.agent.service import Agent, AgentSettings  # torch and Flower: once the home is right

    return_freed_memory()
    with holding(at.lock, busy=f"a client runs in {at.path} already; stop it first, or use its home"):
        agent = Agent(at, AgentSettings(data=paths, device=device), show=print_timed)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.run()


@client.command()
def status(home: Home, as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False) -> None:
    """Show what the client does, what it has answered and refused, and what is left of each privacy budget."""
    from fedcore_clients.agent.home import ClientHome
    from fedcore_clients.agent.status import client_status, print_status

    found = client_status(ClientHome(home))
    if as_json:
        import json

        print(json.dumps(found, indent=2))
    else:
        print_status(found)


def _paths(data: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for each in data:
        name, separator, path = each.partition("=")
        if not (name and separator and path):
            raise typer.BadParameter(f"expected NAME=PATH, found {each!r}", param_hint="--data")
        if not Path(path).exists():
            raise typer.BadParameter(f"{path} does not exist", param_hint="--data")
        resolved = Path(path).resolve()
        if name in found or resolved in found.values():
            raise typer.BadParameter(
                f"{each!r} gives a data set twice; each has one name, since a privacy budget is kept by name",
                param_hint="--data",
            )
        found[name] = resolved
    return found
