"""``fedcore audit privacy``: a claim beside what can be measured of it."""

from __future__ import annotations

from typing import Annotated

import typer


def privacy(  # noqa: PLR0917 - typer reads the options from the signature
    subject: Annotated[str, typer.Argument(metavar="RUN|PLAN.toml", help="A run directory, a plan or a scenario.")],
    canaries: Annotated[int, typer.Option(min=20, help="Made-up records; more of them show more.")] = 1000,
    attack_models: Annotated[
        int, typer.Option(min=0, help="Models for the membership attack, each as long as the run; 0 leaves it out.")
    ] = 8,
    client: Annotated[str | None, typer.Option(help="Unit record: whose rows; default the first client.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the canaries' coins and of the attack, never of noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Set the proven ε, a measured lower bound and an attack's success side by side; they are never merged.

    The plan is trained here once more, with the very code that trains a run: a sandbox, whose model is thrown away.
    Exit code 1 where the claim is refuted; a run directory is then marked as violated.

    Examples:
      fedcore audit privacy runs/digits-0001
      fedcore audit privacy digits --attack-models 0
    """
    from pathlib import Path

    from fedcore_simulations.commands.options import plan_from_options

    if not Path(subject).is_dir():
        plan_from_options(subject, {}, [])  # a plan that is wrong is refused before torch is imported
    from fedcore_simulations.privacy_audit.command_run import audit_command

    raise typer.Exit(
        audit_command(
            subject, canaries=canaries, attack_models=attack_models, client=client, seed=seed, as_json=as_json
        )
    )
