"""The subcommand ``fedcore ledger init``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedcore_clients.ledger.account import Ledger
    from fedcore_clients.ledger.terms import Terms

_SMALL_EPSILON = (
    "warning: below ε = 2 mode rdp allows far less than the noise would, and almost nothing with sampling; if you know "
    "the sampling rate and the noise of future plans, mode unit allows all of it"
)


def init(  # noqa: PLR0917 - typer reads the options from the signature
    data_set: Annotated[str, typer.Argument(metavar="DATA_SET", help="Its name, as policy and plans have it.")],
    home: Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")],
    epsilon: Annotated[float, typer.Option(help="ε of all releases about one record.")],
    delta: Annotated[float, typer.Option(help="δ at which it holds; well below one over the number of rows.")] = 1e-5,
    mode: Annotated[
        str,
        typer.Option(
            help="How uses are added up: rdp (plans of any noise), unit (tightest; steps of the reference mechanism "
            "that --sampling-rate and --noise-multiplier give), gdp (no sampling), grants (whole runs)."
        ),
    ] = "rdp",
    relation: Annotated[
        str,
        typer.Option(
            help="By which neighbours it counts: zero-out (the number of rows is public), add-remove, or replace-one, "
            "which costs more."
        ),
    ] = "zero-out",
    sampling_rate: Annotated[float | None, typer.Option(help="Mode unit: largest rate a plan may ask for.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Mode unit: least noise a plan may ask for.")] = None,
    grants: Annotated[
        int | None, typer.Option(min=1, help="Mode grants: shares of δ, one a run; 10 by default.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Path of the data set, to keep a mark beside it.")] = None,
    supersede: Annotated[bool, typer.Option("--supersede", help="Give an existing budget another ε or δ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Give a data set a budget of your own; by default the client uses the policy's, in mode rdp.

    The mode is fixed once something was spent: what was spent is known only in its units.

    Example:
      fedcore ledger init digits --home hospital-a --epsilon 8
      fedcore ledger init digits --home hospital-a --epsilon 8 --mode unit --sampling-rate 0.1 --noise-multiplier 1
    """
    from fedcore.privacy.plan import Relation
    from fedcore_clients.ledger.display import print_budgets
    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.terms import Mode

    _check_place(data_set, data)
    wanted = {
        "mode": _one_of(Mode, mode, "--mode"),
        "relation": _one_of(Relation, relation, "--relation"),
        "sampling_rate": sampling_rate,
        "noise_multiplier": noise_multiplier,
        "grants": grants,
    }
    account = open_ledger(home, {} if data is None else {data_set: data}, may_be_absent=True)
    terms = _terms(account, data_set, epsilon, delta, wanted, supersede=supersede)
    account.file.create()  # nothing was written before everything was checked
    account.set_budget(data_set, terms, maker="owner")
    print_budgets(account, as_json=as_json)
    if terms.mode is Mode.RDP and epsilon < 2.0 and not as_json:
        print(_SMALL_EPSILON, file=sys.stderr)


def _check_place(data_set: str, data: Path | None) -> None:
    """Refuse a name that no plan could use, and a path without data."""
    import re

    from fedcore.errors import DataError, PlanError
    from fedcore_clients.policy.sections import DATA_NAME

    if not re.fullmatch(DATA_NAME, data_set):
        raise PlanError(
            f"DATA_SET: expected letters, digits and . _ : - as in the policy's data.allowed, found {data_set!r}"
        )
    if data is not None and not data.exists():
        raise DataError(f"--data: {data} does not exist; the account's mark is written beside it")


def _terms(
    account: Ledger, data_set: str, epsilon: float, delta: float, wanted: Mapping[str, Any], *, supersede: bool
) -> Terms:
    """The new terms; of a budget that was spent from, only ε and δ change.

    Raises:
        PrivacyError: There is a budget, and no request to replace it.
    """
    from fedcore.errors import PrivacyError
    from fedcore_clients.ledger.terms import agree

    known = account.budgets().get(data_set) if account.file.exists() else None
    if known is not None and not supersede:
        raise PrivacyError(
            f"data set {data_set!r} has a budget: ε = {known.terms.epsilon:g} at δ = {known.terms.delta:g}, mode "
            f"{known.terms.mode}; to give it another ε or δ, if you know what it means, add --supersede"
        )
    if known is not None and account.is_begun(data_set):
        return known.terms.changed(epsilon, delta)
    return agree(epsilon=epsilon, delta=delta, **wanted)


def _one_of(known: Iterable[Any], text: str, option: str) -> Any:
    from fedcore.errors import PlanError

    by_name = {str(each): each for each in known}
    if text not in by_name:
        raise PlanError(f"{option}: expected one of {', '.join(by_name)}, found {text!r}")
    return by_name[text]
