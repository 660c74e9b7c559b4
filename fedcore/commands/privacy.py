"""The subcommands of ``fedcore privacy``. Imports nothing slow: help must be instant."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from fedcore.privacy.plan import PrivacyEvent

privacy = typer.Typer(
    name="privacy",
    help="The arithmetic of differential privacy: ε of a mechanism, noise for an ε, plans, and statements in words.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_ASSUMED_PARAMETERS = 1000

SampleRate = Annotated[
    float, typer.Option("--sample-rate", metavar="Q", help="Probability of a record to be in a step's batch; 1 is all.")
]
NoiseMultiplier = Annotated[
    float,
    typer.Option("--noise-multiplier", metavar="S", help="Standard deviation of the noise over the clip norm."),
]
Steps = Annotated[int, typer.Option("--steps", metavar="T", help="Releases in all: rounds × steps per round.")]
Delta = Annotated[float, typer.Option("--delta", metavar="D", help="δ; keep it far below 1 / the number of records.")]
Target = Annotated[float, typer.Option("--target-epsilon", metavar="E", help="ε of the whole run that must be kept.")]
RelationOption = Annotated[
    Literal["zero-out", "add-remove", "replace-one"],
    typer.Option("--relation", help="What neighbours are: a record blanked, one more or less, or one replaced."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@privacy.command()
def epsilon(  # noqa: PLR0917 - typer reads the options from the signature
    sample_rate: SampleRate,
    noise_multiplier: NoiseMultiplier,
    steps: Steps,
    delta: Delta,
    relation: RelationOption = "zero-out",
    as_json: Json = False,
) -> None:
    """Compute the ε of a mechanism: an upper bound, by Google's accountant for privacy losses.

    The noise is relative to the clip norm, whatever the relation. In JSON an infinite ε is null, with a reason.

    Example:
      fedcore privacy epsilon --sample-rate 0.01 --noise-multiplier 1.0 --steps 10000 --delta 1e-5
    """
    from fedcore.privacy.accounting import composed_epsilon, rounded_up
    from fedcore.privacy.plan import PrivacyEvent, Relation

    _refuse(sampling_rate=sample_rate, steps=steps, delta=delta, noise_multiplier=noise_multiplier)
    event = PrivacyEvent(sampling_rate=sample_rate, noise_multiplier=noise_multiplier, steps=steps)
    found = composed_epsilon([event], delta, Relation(relation))
    why = _why_infinite(noise_multiplier) if math.isinf(found) else None
    if as_json:
        _print({"epsilon": None if why else found, "upper_bound": True, **_given(event, delta, relation), "why": why})
    else:
        print(f"ε = ∞: {why}" if why else f"ε ≤ {rounded_up(found, 4):g} at δ = {delta:g} ({relation})")


@privacy.command()
def noise(  # noqa: PLR0917 - typer reads the options from the signature
    target_epsilon: Target,
    sample_rate: SampleRate,
    steps: Steps,
    delta: Delta,
    relation: RelationOption = "zero-out",
    as_json: Json = False,
) -> None:
    """Compute the noise for a target ε: the smallest noise multiplier, to four decimals.

    Example:
      fedcore privacy noise --target-epsilon 2 --sample-rate 0.1 --steps 100 --delta 1e-5
    """
    from fedcore.privacy.accounting import calibrate_noise_multiplier, epsilon_of, rounded_up
    from fedcore.privacy.plan import PrivacyEvent, Relation

    _refuse(sampling_rate=sample_rate, steps=steps, delta=delta, epsilon=target_epsilon)
    kind = Relation(relation)
    multiplier = _computed(
        lambda: calibrate_noise_multiplier(
            epsilon=target_epsilon, delta=delta, sampling_rate=sample_rate, steps=steps, relation=kind
        )
    )
    event = PrivacyEvent(sampling_rate=sample_rate, noise_multiplier=multiplier, steps=steps)
    kept = epsilon_of(event, delta, kind)
    if as_json:
        _print({"noise_multiplier": multiplier, "epsilon": kept, "upper_bound": True, **_given(event, delta, relation)})
    else:
        print(f"noise multiplier {multiplier:g}: ε ≤ {rounded_up(kept, 4):g} at δ = {delta:g} ({relation})")


@privacy.command()
def plan(  # noqa: PLR0917 - typer reads the options from the signature
    examples: Annotated[int, typer.Option(metavar="N", help="Training records of one client.")],
    rounds: Annotated[int, typer.Option(metavar="R", help="Rounds of the run.")],
    target_epsilon: Target,
    delta: Delta = 1e-5,
    sample_rate: SampleRate = 0.5,
    steps_per_round: Annotated[int, typer.Option(help="Steps of a client in a round.")] = 1,
    clients: Annotated[int, typer.Option(help="Clients whose updates are averaged.")] = 1,
    parameters: Annotated[
        int | None, typer.Option(help="Numbers that the model learns; noise falls on each. 1000 if absent.")
    ] = None,
    unit: Annotated[
        Literal["record", "client"],
        typer.Option(help="Unit of privacy: a record, by noise in its client, or a client, by noise at the server."),
    ] = "record",
    relation: RelationOption = "zero-out",
    as_json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.svg", help="Write noise against ε as a picture.", show_default=False),
    ] = None,
) -> None:
    """Show before a run what a target ε costs, and what would help: rounds, batches, clients.

    The noise is that on the mean, in clip norms: if it is longer than the longest mean gradient, nothing can be
    learned, and the plan is called useless.

    Example:
      fedcore privacy plan --examples 1000 --rounds 50 --target-epsilon 2 --clients 10 --picture noise.svg
    """
    from rich.console import Console
    from rich.progress import Progress

    from fedcore.commands.privacy_plan import check_picture, described, draw, show, trials
    from fedcore.privacy.plan import Relation
    from fedcore.privacy.planning import Prospect

    if out is not None:
        check_picture(out)
    prospect = Prospect(
        unit=unit,
        relation=Relation(relation),
        epsilon=target_epsilon,
        delta=delta,
        examples=examples,
        clients=clients,
        rounds=rounds,
        sampling_rate=sample_rate,
        steps_per_round=steps_per_round,
        parameters=_ASSUMED_PARAMETERS if parameters is None else parameters,
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("noise for each choice", total=trials(prospect, drawn=out is not None))
        found = _computed(lambda: described(prospect, lambda: progress.advance(bar)))
        if out is not None:
            _computed(lambda: draw(prospect, out, lambda: progress.advance(bar)))
    found["parameters_assumed"] = parameters is None
    if as_json:
        _print(found)
    else:
        show(found)


@privacy.command()
def explain(
    statement: Annotated[
        Path, typer.Argument(metavar="PRIVACY.json", help="The privacy.json of a run.", show_default=False)
    ],
) -> None:
    """Explain in plain language what a privacy statement promises, and what it does not.

    Example:
      fedcore privacy explain runs/digits-0001/privacy.json
    """
    from fedcore.privacy.statement.statement import read_statement
    from fedcore.privacy.statement.words import explained

    print(explained(read_statement(statement)))


def _refuse(**numbers: Any) -> None:
    from fedcore.errors import PlanError
    from fedcore.privacy.planning import mechanism_problems

    if problems := list(mechanism_problems(**numbers)):
        raise PlanError(problems)


def _computed(compute: Any) -> Any:
    """The accountant's result, or an error for numbers beyond its range."""
    from fedcore.errors import PlanError

    try:
        return compute()
    except (ArithmeticError, ValueError, MemoryError) as error:
        raise PlanError(f"the accountant cannot compute with these numbers: {error}") from error


def _why_infinite(noise_multiplier: float) -> str:
    if noise_multiplier == 0.0:
        return "without noise nothing is promised"
    return "the noise is too little, or a number too large, for any bound to be computed"


def _given(event: PrivacyEvent, delta: float, relation: str) -> dict[str, Any]:
    from fedcore.privacy.accounting import accountant_description
    from fedcore.privacy.plan import Relation as Kind

    return {"delta": delta, "relation": relation, "accountant": accountant_description([event], Kind(relation))}


def _print(content: dict[str, Any]) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
