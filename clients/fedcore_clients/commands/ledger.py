"""``fedcore ledger``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedcore_clients.commands.ledger_init import init
from fedcore_clients.commands.ledger_spend import spend
from fedcore_clients.commands.ledger_verify import refuse_damaged, verify

ledger = typer.Typer(
    name="ledger",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The account of what was released about each of your data sets, over all runs.",
    epilog="The client keeps it in its home automatically.",
)
for _command in (init, spend, verify):
    ledger.command()(_command)

Home = Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


@ledger.command()
def show(home: Home, as_json: AsJson = False) -> None:
    """Show what is spent, reserved and left of each budget, and the ε of all releases.

    That ε is by the tightest accountant, and valid if no run's parameters were chosen from private outputs; the
    budget itself holds without that.

    Example:
      fedcore ledger show --home hospital-a
    """
    from fedcore_clients.ledger.display import print_budgets
    from fedcore_clients.ledger.opening import open_ledger

    account = open_ledger(home, {})
    refuse_damaged(account.file)
    print_budgets(account, as_json=as_json)


@ledger.command()
def export(
    home: Home,
    out: Annotated[Path | None, typer.Option(help="New file to write; by default it is printed.")] = None,
) -> None:
    """Write the whole account as JSON: every entry, and the hash of the newest one.

    With that hash, anyone can check later that the account still continues from there.

    Example:
      fedcore ledger export --home hospital-a --out ledger.json
    """
    import json
    from dataclasses import asdict

    from fedcore.errors import StorageError
    from fedcore.storage.files import write_whole
    from fedcore.text.wording import counted
    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.statement import statements_of

    account = open_ledger(home, {})
    with account.file.reading() as book:
        found: dict[str, Any] = {"format": 1, "ledger": book.id, "head": book.head}
        found["entries"] = [asdict(entry) for entry in book.entries()]
    found["budgets"] = {each.data_set: each.to_fields() for each in statements_of(account)}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    if out is None:
        print(text)
        return
    if out.exists():
        raise StorageError(f"{out} exists and is not changed; name another file")
    write_whole(out, text + "\n")
    print(f"wrote {counted(len(found['entries']), 'entry', 'entries')} to {out}; head {found['head']}")


@ledger.command()
def recover(
    home: Home,
    run: Annotated[str | None, typer.Option(help="Return what this run has reserved and not used.")] = None,
    as_json: AsJson = False,
) -> None:
    """After a crash or an abandoned run: list what runs have reserved, and return it.

    What was charged stays charged: a crash may have come after the data was read. A run that asks again after its
    rest was returned must fit anew.

    Example:
      fedcore ledger recover --home hospital-a
      fedcore ledger recover --home hospital-a --run digits-0001
    """
    import json

    from fedcore.text.wording import counted
    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.statement import open_reservations

    account = open_ledger(home, {})
    held = open_reservations(account.entries())
    chosen = _chosen(held, run)
    for data_set, name in chosen:
        account.close(data_set, name)
    listed: list[dict[str, Any]] = [
        {"data_set": data_set, "run": name, "rounds": rounds, "given_back": (data_set, name) in chosen}
        for (data_set, name), rounds in held.items()
    ]
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    for each in listed:
        state = "given back" if each["given_back"] else "held"
        print(f"{each['run']}: {counted(each['rounds'], 'round')} on {each['data_set']}, {state}")
    if not listed:
        print("no run has reserved anything")
    elif run is None:
        print(f"\na run that is over: fedcore ledger recover --home {home} --run NAME")


def _chosen(held: dict[tuple[str, str], int], run: str | None) -> list[tuple[str, str]]:
    from fedcore.errors import PlanError

    if run is None:
        return []
    found = [key for key in held if run in (key[1], key[1].partition("@")[0], key[1].partition(".")[0])]
    if not found:
        raise PlanError(f"run {run!r} has reserved nothing; see: fedcore ledger recover without --run")
    return found
