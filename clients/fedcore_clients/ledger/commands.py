"""``fedcore ledger``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedcore_clients.ledger.spend_command import spend
from fedcore_clients.ledger.verify_command import verify

if TYPE_CHECKING:
    from fedcore_clients.ledger.account import Ledger

ledger = typer.Typer(
    name="ledger",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The account of what was told about each of your data sets, over all runs.",
    epilog="It is kept by the client, in its home; nothing needs to be done for it to count.",
)
ledger.command()(spend)
ledger.command()(verify)

Home = Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
DataSet = Annotated[str, typer.Argument(metavar="DATA_SET", help="Its name, as policy and plans have it.")]


@ledger.command()
def init(  # noqa: PLR0917 - typer reads the options from the signature
    data_set: DataSet,
    home: Home,
    epsilon: Annotated[float, typer.Option(help="ε of all that is ever told about one record.")],
    delta: Annotated[float, typer.Option(help="δ at which it holds; well below one over the number of rows.")] = 1e-5,
    mode: Annotated[
        str,
        typer.Option(
            help="How uses are added up: rdp (plans of any noise), unit (tightest; steps of the reference mechanism "
            "that --sampling-rate and --noise-multiplier give), gdp (no sampling), grants (whole runs)."
        ),
    ] = "rdp",
    relation: Annotated[str, typer.Option(help="zero-out (the number of rows is public) or add-remove.")] = "zero-out",
    sampling_rate: Annotated[float | None, typer.Option(help="Mode unit: largest rate a plan may ask for.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Mode unit: least noise a plan may ask for.")] = None,
    grants: Annotated[
        int | None, typer.Option(min=1, help="Mode grants: shares of δ, one a run; 10 if absent.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the data set lies, to keep a mark beside it.")] = None,
    supersede: Annotated[bool, typer.Option("--supersede", help="Give a budget that is there another ε or δ.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a data set a budget of your own; without it the client takes the policy's, in mode rdp.

    The mode is fixed once something was spent: what was spent is known in its units alone.

    Example:
      fedcore ledger init digits --home hospital-a --epsilon 8
      fedcore ledger init digits --home hospital-a --epsilon 8 --mode unit --sampling-rate 0.1 --noise-multiplier 1
    """
    from fedcore.errors import PrivacyError
    from fedcore_clients.ledger.terms import Mode, agree

    account = _ledger(home, {} if data is None else {data_set: data}, create=True)
    known = account.budgets().get(data_set)
    if known is not None and not supersede:
        raise PrivacyError(
            f"data set {data_set!r} has a budget: ε = {known.terms.epsilon:g} at δ = {known.terms.delta:g}, mode "
            f"{known.terms.mode}; to give it another ε or δ, knowing what it means, add --supersede"
        )
    if known is not None and account.is_begun(data_set):
        terms = known.terms.changed(epsilon, delta)
    else:
        terms = agree(
            epsilon=epsilon,
            delta=delta,
            mode=_one_of(Mode, mode, "--mode"),
            relation=_relation(relation),
            sampling_rate=sampling_rate,
            noise_multiplier=noise_multiplier,
            grants=grants,
        )
    account.set_budget(data_set, terms, maker="owner")
    _print_budgets(account, as_json=as_json)
    if terms.mode is Mode.RDP and epsilon < 2.0 and not as_json:
        print(
            "warning: below ε = 2 mode rdp buys far less than the noise would allow, with sampling next to nothing; "
            "if you know the sampling rate and the noise of the plans to come, mode unit buys all of it",
            file=sys.stderr,
        )


@ledger.command()
def show(home: Home, as_json: AsJson = False) -> None:
    """Show what is spent, reserved and left of each budget, and the ε of what was told.

    That ε is by the tightest accountant, and valid if no run's parameters were chosen from private outputs; the
    budget itself holds without that.

    Example:
      fedcore ledger show --home hospital-a
    """
    _print_budgets(_ledger(home), as_json=as_json)


@ledger.command()
def export(
    home: Home,
    out: Annotated[Path | None, typer.Option(help="New file to write to; printed if absent.")] = None,
) -> None:
    """Write the whole account as JSON: every entry, and the hash of the newest one.

    Whoever keeps that hash can tell later whether the account still goes on from there.

    Example:
      fedcore ledger export --home hospital-a --out ledger.json
    """
    import json
    from dataclasses import asdict

    from fedcore.errors import StorageError
    from fedcore.files import write_whole
    from fedcore_clients.ledger.statement import statements_of

    account = _ledger(home)
    with account.file.reading() as book:
        found: dict[str, Any] = {"format": 1, "ledger": book.id, "head": book.head}
        found["entries"] = [asdict(entry) for entry in book.entries()]
    found["budgets"] = {each.data_set: each.to_fields() for each in statements_of(account)}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    if out is None:
        print(text)
        return
    if out.exists():
        raise StorageError(f"{out} exists and is left as it is; name another file")
    write_whole(out, text + "\n")
    print(f"wrote {len(found['entries'])} entries to {out}; head {found['head']}")


@ledger.command()
def recover(
    home: Home,
    run: Annotated[str | None, typer.Option(help="Give back what this run has reserved and not used.")] = None,
    as_json: AsJson = False,
) -> None:
    """After a crash, or a run that was given up: list what runs hold, and give it back.

    What was charged stays charged: a crash may have come after the data was read. A run that asks again after its
    rest was given back has to fit anew.

    Example:
      fedcore ledger recover --home hospital-a
      fedcore ledger recover --home hospital-a --run digits-0001
    """
    import json

    from fedcore_clients.ledger.statement import open_reservations

    account = _ledger(home)
    held = open_reservations(account.entries())
    chosen = _chosen(held, run)
    for data_set, name in chosen:
        account.close(data_set, name)
    listed = [
        {"data_set": data_set, "run": name, "rounds": rounds, "given_back": (data_set, name) in chosen}
        for (data_set, name), rounds in held.items()
    ]
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    for each in listed:
        state = "given back" if each["given_back"] else "held"
        print(f"{each['run']}: {each['rounds']} rounds on {each['data_set']}, {state}")
    if not listed:
        print("no run holds anything")
    elif run is None:
        print(f"\na run that is over: fedcore ledger recover --home {home} --run NAME")


def _ledger(home: Path, data: dict[str, Path] | None = None, *, create: bool = False) -> Ledger:
    """The ledger of a home, with what an older version had spent."""
    from fedcore_clients.ledger.opening import open_ledger

    return open_ledger(home, data or {}, create=create)


def _print_budgets(account: Ledger, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from fedcore_clients.ledger.statement import VALID, budget_table, statements_of

    found = {each.data_set: each.to_fields() for each in statements_of(account)}
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    elif not found:
        print("no data set has a budget yet")
    else:
        Console(highlight=False).print(budget_table(found))
        print(f"ε spent: {VALID}")


def _chosen(held: dict[tuple[str, str], int], run: str | None) -> list[tuple[str, str]]:
    from fedcore.errors import PlanError

    if run is None:
        return []
    found = [key for key in held if run in (key[1], key[1].partition("@")[0], key[1].partition(".")[0])]
    if not found:
        raise PlanError(f"run {run!r} holds nothing; see: fedcore ledger recover without --run")
    return found


def _relation(text: str) -> Any:
    from fedcore_clients.ledger.terms import RELATIONS

    return _one_of(RELATIONS, text, "--relation")


def _one_of(known: Iterable[Any], text: str, option: str) -> Any:
    from fedcore.errors import PlanError

    by_name = {str(each): each for each in known}
    if text not in by_name:
        raise PlanError(f"{option}: expected one of {', '.join(by_name)}, found {text!r}")
    return by_name[text]
