"""The subcommand ``fedcore ledger spend``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore_clients.ledger.mechanism import Mechanism


def spend(  # noqa: PLR0917 - typer reads the options from the signature
    data_set: Annotated[str, typer.Argument(metavar="DATA_SET", help="Its name, as policy and plans have it.")],
    home: Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")],
    note: Annotated[str, typer.Option(help="What it was, for readers of the account.")],
    noise_multiplier: Annotated[float | None, typer.Option(help="Standard deviation over sensitivity.")] = None,
    sampling_rate: Annotated[float, typer.Option(help="Probability of a record to be in a step's batch.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="How often the mechanism ran.")] = 1,
    epsilon: Annotated[float | None, typer.Option(help="Of a use whose ε and δ only are known; mode grants.")] = None,
    delta: Annotated[float, typer.Option(help="The δ that belongs to --epsilon.")] = 0.0,
    unbounded: Annotated[bool, typer.Option("--unbounded", help="It promised no privacy at all.")] = False,
) -> None:
    """Charge a use of the data that was made outside of fedcore: a publication, a query, another tool's training.

    It is recorded even where it exceeds what is left, since it has happened.

    Example:
      fedcore ledger spend digits --home hospital-a --noise-multiplier 5 --note "histogram of ages, 2026"
    """
    from fedcore.errors import PlanError
    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.terms import NANO

    if not note.strip():
        raise PlanError("--note: describe the use; readers of the account know it only from this note")
    mechanism = _mechanism(noise_multiplier, sampling_rate, steps, epsilon, delta, unbounded=unbounded)
    account = open_ledger(home, {})
    cost = account.spend(data_set, mechanism, note[:500])
    if mechanism is None:
        print(f"charged to {data_set} as unbounded: releases about it have no bound any more")
        return
    terms, balance = account.budgets()[data_set].terms, account.balance(data_set)
    print(f"charged {cost.units / NANO:.6g} of {terms.unit} to {data_set}; left {balance.usable / NANO:.6g}")
    if balance.overdrawn:
        print("that is more than was left: nothing more can be trained on it with this budget")


def _mechanism(
    noise: float | None, rate: float, steps: int, epsilon: float | None, delta: float, *, unbounded: bool
) -> Mechanism | None:
    from fedcore.errors import PlanError
    from fedcore.privacy.plan import PrivacyEvent
    from fedcore_clients.ledger.mechanism import Grant

    if (noise is not None) + (epsilon is not None) + unbounded != 1:
        raise PlanError("expected one of --noise-multiplier, --epsilon and --unbounded")
    if unbounded:
        return None
    if noise is not None:
        if not 0.0 < noise < 1e9:
            raise PlanError(
                f"--noise-multiplier: expected more than 0 and less than 1e9, found {noise:g}; without: --unbounded"
            )
        if not 0.0 < rate <= 1.0:
            raise PlanError(f"--sampling-rate: expected more than 0 and at most 1, found {rate:g}")
        return PrivacyEvent(sampling_rate=rate, noise_multiplier=noise, steps=steps)
    if epsilon is None or not (0.0 <= epsilon < 1e5 and 0.0 <= delta < 1.0):
        raise PlanError(f"expected 0 ≤ --epsilon < 1e5 and 0 ≤ --delta < 1, found {epsilon:g} and {delta:g}")
    return Grant(epsilon=epsilon, delta=delta)
