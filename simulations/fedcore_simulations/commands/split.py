"""The subcommand ``split``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedcore_simulations.commands.simulate import (
    Clients,
    Data,
    Label,
    PartitionOption,
    Seed,
    Sensitive,
    Settings,
    Subject,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fedcore_simulations.commands.split_run import Division

Out = Annotated[Path, typer.Option(metavar="DIR", help="Directory to write; absent or empty.", show_default=False)]


def split(  # noqa: PLR0917 - typer reads the options from the signature
    out: Out,
    subject: Subject = None,
    data: Data = None,
    label: Label = None,
    sensitive: Sensitive = None,
    clients: Clients = None,
    partition: PartitionOption = None,
    seed: Seed = None,
    settings: Settings = None,
) -> None:
    """Write the rows that each client of a simulation would have, and the plan, to try a deployment with.

    A run on these files trains what fedcore simulate trains in memory, so that the two can be compared.

    Examples:
      fedcore split digits --clients 3 --out parts
      fedcore split plan.toml --set federation.rounds=5 --out parts
    """
    from fedcore_simulations.commands.options import plan_from_options

    options: dict[str, Any] = {
        "task.data": data,
        "task.options.label": label,
        "audit.sensitive": None if sensitive is None else [name.strip() for name in sensitive.split(",")],
        "federation.clients": clients,
        "federation.partition": partition,
        "federation.seed": seed,
    }
    plan = plan_from_options(subject, options, settings or [])
    from fedcore_simulations.commands.split_run import (  # torch: once the plan is known to be right
        check_vacant,
        write_division,
    )

    check_vacant(out)
    for line in _summary(write_division(plan, out), out):
        print(line)


def _summary(division: Division, out: Path) -> Iterator[str]:
    for number, path in enumerate(division.files):
        training, held_out = division.rows[number] if division.rows else (None, None)
        yield f"{path}" + ("" if training is None else f"  {training} training rows, {held_out} held out")
    plan = out / "plan.toml"
    yield f"{plan}  sha256 {division.plan.sha256}"
    for old, new in division.renamed.items():
        yield (
            f"client {old!r} is called {new}, as a member of a consortium can be; batches are drawn under the name, so "
            "that its updates are not the simulated ones"
        )
    data = f"--data {division.data_set}={division.files[0]}"
    yield ""
    yield f"next: admit {_listed(division.names)} to a consortium, with fedcore consortium init, invite and admit"
    yield f"then: fedcore client policy --allow {division.plan.task.name} --out HOME/policy.toml"
    yield f"then: fedcore doctor --home HOME --plan {plan} {data}"
    yield f"then: fedcore client start --home HOME {data}"
    yield f"then: fedcore run {plan} --follow"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, … {names[-1]}"
