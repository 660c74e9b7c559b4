"""The subcommands ``simulate``, ``new`` and ``schema``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fedcore.aggregation.registry import ENCODINGS
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.tasks.registry import TASKS
from fedcore.tracking.registry import TRACKERS
from fedcore_simulations.engines.registry import ENGINES
from fedcore_simulations.partition.registry import PARTITIONERS

_TASK = "Which data and model"
_FEDERATION = "The federation"
_PRIVACY = "Privacy"
_RUN = "The run"

Subject = Annotated[
    str | None,
    typer.Argument(
        metavar="[TASK|PLAN.toml|SCENARIO]",
        help=f"A reference task ({', '.join(TASKS.rows)}); module:object of your own; a scenario; or a plan file. "
        "Default: digits.",
        show_default=False,
    ),
]
Data = Annotated[str | None, typer.Option(help="File or directory handed to the task.", rich_help_panel=_TASK)]
Label = Annotated[str | None, typer.Option(help="Column to predict (tabular).", rich_help_panel=_TASK)]
Sensitive = Annotated[
    str | None,
    typer.Option(help="Attributes to audit, separated by commas; a*b crosses two.", rich_help_panel=_TASK),
]
Clients = Annotated[int | None, typer.Option(help="Number of simulated clients.", rich_help_panel=_FEDERATION)]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.", rich_help_panel=_FEDERATION)]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition",
        help=f"{PARTITIONERS.choices()}; with an option as in dirichlet:0.3 (skewed classes), shards:2, by:COLUMN or "
        "sizes:lognormal.",
        rich_help_panel=_FEDERATION,
    ),
]
AlgorithmOption = Annotated[
    str | None,
    typer.Option(
        "--algorithm",
        help=f"{ALGORITHMS.choices()}; with an option as in fedprox:0.1.",
        rich_help_panel=_FEDERATION,
    ),
]
EncodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--encode",
        help=f"Encoding of updates: {ENCODINGS.choices()}; with an option as in top-k:0.1; repeat it for several.",
        rich_help_panel=_FEDERATION,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="Target ε of the whole run; turns privacy on.", rich_help_panel=_PRIVACY),
]
Unit = Annotated[
    str | None,
    typer.Option(
        metavar="record|client",
        help="Whom ε protects: a row, by noise at its client (the default); or a client with all its rows, by noise at "
        "the server.",
        rich_help_panel=_PRIVACY,
    ),
]
Delta = Annotated[float | None, typer.Option(help="δ of the guarantee.", rich_help_panel=_PRIVACY)]
NoPrivacy = Annotated[bool, typer.Option("--no-privacy", help="Train without privacy.", rich_help_panel=_PRIVACY)]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help=f"auto, {ENGINES.choices()}; how clients are trained; results agree up to rounding.",
        rich_help_panel=_RUN,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="A running Ray cluster for --engine ray; without it Ray is started on this machine.",
        rich_help_panel=_RUN,
    ),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; default one for each core.", rich_help_panel=_RUN)]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="phones|hospital-servers|FILE.toml",
        help="Give each client a device, and the run a simulated time with deadlines, stragglers and dropouts.",
        rich_help_panel=_FEDERATION,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything but privacy noise.", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None,
    typer.Option(help="Directory for the results; default runs/TASK-0001 and so on.", rich_help_panel=_RUN),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set any key of the plan.", rich_help_panel=_RUN),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        help=f"Copy the run to {TRACKERS.choices()}; may be repeated.",
        rich_help_panel=_RUN,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Resume a run that was stopped; with --rounds, give a run more rounds than its plan had.",
        rich_help_panel=_RUN,
    ),
]
EstimateOption = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Make no run: try a few clients, and show the time, memory (taken and planned), traffic, ε and energy "
        "that the run would take here.",
        rich_help_panel=_RUN,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print summary.json alone on standard output.", rich_help_panel=_RUN)
]


def simulate(  # noqa: PLR0917 - typer reads the options from the signature
    subject: Subject = None,
    data: Data = None,
    label: Label = None,
    sensitive: Sensitive = None,
    clients: Clients = None,
    rounds: Rounds = None,
    partition: PartitionOption = None,
    algorithm: AlgorithmOption = None,
    encode: EncodeOption = None,
    devices: DevicesOption = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    unit: Unit = None,
    no_privacy: NoPrivacy = False,
    engine: EngineOption = None,
    ray_address: RayAddress = None,
    workers: Workers = None,
    seed: Seed = None,
    out: Out = None,
    settings: Settings = None,
    track: Track = None,
    resume: Resume = None,
    only_estimate: EstimateOption = False,
    as_json: Json = False,
) -> None:
    """Simulate a federation on this machine: train, protect and audit it.

    Without arguments: real handwritten digits at ten owners, with differential privacy and a bias audit.

    Examples:
      fedcore simulate --epsilon 2 --clients 20
      fedcore simulate tabular --data table.csv --label income --sensitive sex,race
      fedcore simulate my_task:task --partition dirichlet:0.3 --no-privacy
      fedcore simulate synthetic --algorithm scaffold --encode top-k:0.05 --encode int8
      fedcore simulate --devices phones --algorithm fedbuff:5
      fedcore simulate --engine ray --ray-address 10.0.0.1:6379
    """
    from fedcore_simulations.commands.simulate_run import run_command

    options: dict[str, Any] = {
        "task.data": data,
        "task.options.label": label,
        "audit.sensitive": None if sensitive is None else [name.strip() for name in sensitive.split(",")],
        **_keys("federation", clients=clients, rounds=rounds, partition=partition, seed=seed),
        "algorithm.name": algorithm,
        "aggregation.encode": encode or None,
        "devices.profiles": devices,
        **_keys("privacy", epsilon=epsilon, delta=delta),
        "privacy.unit": _unit(unit, epsilon, no_privacy),
        "engine.name": _engine(engine, ray_address),
        "engine.workers": workers,
        "run.track": track or None,
    }
    if only_estimate:
        from fedcore_simulations.commands.estimate_run import estimate_command

        raise typer.Exit(estimate_command(subject, options, settings or [], resume_from=resume, as_json=as_json))
    raise typer.Exit(run_command(subject, options, settings or [], out=out, resume_from=resume, as_json=as_json))


def new(
    directory: Annotated[Path, typer.Argument(help="Directory to make; must be absent or empty.")],
) -> None:
    """Write a task of your own to start from: a task, a plan and a test, which run as they are."""
    from fedcore_simulations.commands.new_task import write_new_task

    for path in write_new_task(directory):
        print(path)
    print(f"\nnext: cd {directory} && fedcore simulate plan.toml")
    print("its test: python -m pip install pytest && python -m pytest")


def schema(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet table.")],
    label: Annotated[str | None, typer.Option(help="Column to predict; left out of the inputs.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default standard output.")] = None,
) -> None:
    """Draft the schema of a table: kinds, categories and ranges that all clients must agree on.

    Read and correct it: a drafted range reveals something about the rows it was drafted from.
    """
    from fedcore.tasks.tabular.schema_file import draft_schema_file

    text = draft_schema_file(file, label=label)
    if out is None:
        sys.stdout.write(text)
        return
    from fedcore.errors import RunDirectoryError

    if out.exists():
        raise RunDirectoryError(f"{out} exists; give another --out, or remove it")
    from fedcore.storage.files import write_whole

    write_whole(out, text)
    print(out)


def _keys(section: str, **values: Any) -> dict[str, Any]:
    return {f"{section}.{key}": value for key, value in values.items()}


def _engine(engine: str | None, ray_address: str | None) -> str | dict[str, str] | None:
    if ray_address is None:
        return engine
    if engine != "ray":
        raise typer.BadParameter("--ray-address is for --engine ray; add it, or leave the address out")
    return {"name": "ray", "address": ray_address}


def _unit(unit: str | None, epsilon: float | None, no_privacy: bool) -> str | None:
    if no_privacy and not (epsilon is None and unit is None):
        raise typer.BadParameter("--no-privacy contradicts --epsilon and --unit; leave one out")
    if no_privacy:
        return "none"
    return unit or ("record" if epsilon is not None else None)
