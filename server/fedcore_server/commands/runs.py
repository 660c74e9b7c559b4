"""``fedcore run``, ``runs``, ``show``, ``stop``, ``resume``, ``waive``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[Path, typer.Option(help="The server's directory, from fedcore consortium init.")]
Name = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, or the beginning of it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print a line for every round and every rejected reply.")]

_HOME = Path("federation")


def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="The plan to run.")],
    home: Home = _HOME,
    follow: Follow = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Submit, print the run's name, and return.")] = False,
    as_json: Json = False,
) -> None:
    """Run a plan on the connected clients, and wait for its end.

    Ctrl-C leaves it running. The exit code shows how it ended: 0 finished, 1 failed, 3 or 4 finished with a model that
    the bias audit withheld (FAIL, INCONCLUSIVE), 5 stopped, 75 paused, without a quorum or with a loss far above
    its start (fedcore resume continues), 130 no longer watched.

    Example:
      fedcore run plan.toml --home federation --follow
    """
    from fedcore.plan import RunPlan
    from fedcore.tasks.registry import check_known
    from fedcore_server.service.home import ServerHome

    written = RunPlan.from_toml(plan)
    check_known(written.task.name)
    at = ServerHome(home)
    from fedcore_server.runs.deployable_plan import deployable  # torch: only once plan and home are known to be right
    from fedcore_server.runs.following import wait_for
    from fedcore_server.runs.store import RunStore

    store = RunStore(at.runs)
    ready = deployable(written)
    if ready.federation.quorum == 1:
        typer.echo("note: with federation.quorum = 1 a round may consist of one client's update", err=True)
    name = store.submit(ready)
    _warn_if_not_served(at)
    if detach:
        print(name)
        return
    raise typer.Exit(wait_for(store, name, before=0, follow=follow, as_json=as_json))


def runs(home: Home = _HOME, as_json: Json = False) -> None:
    """List the runs of a server, with their state and progress."""
    from rich.console import Console
    from rich.table import Table

    from fedcore_server.runs.store import RunStore
    from fedcore_server.service.home import ServerHome

    store = RunStore(ServerHome(home).runs)
    facts = [_facts(store, name) for name in store.names()]
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "rounds", "task", "submitted"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in facts:
        rounds = f"{each['rounds_committed']}/{each['rounds']}"
        table.add_row(each["run"], each["state"], rounds, each["task"], each["submitted"][:16], each["reason"])
    Console(highlight=False).print(table if facts else "no runs yet; start one with: fedcore run PLAN.toml")


def show(name: Name, home: Home = _HOME, as_json: Json = False) -> None:
    """Show a run: its state, who took part, and where its results are."""
    from fedcore_server.runs.following import print_run
    from fedcore_server.runs.store import RunStore
    from fedcore_server.service.home import ServerHome

    store = RunStore(ServerHome(home).runs)
    directory = store.directory(name)
    if as_json:
        from fedcore_server.runs.participation import participation

        rounds = list(store.rounds(directory.name))
        print(json.dumps(_facts(store, directory.name) | participation((), rounds), indent=2))
        return
    print_run(store, directory.name)


def stop(name: Name, home: Home = _HOME) -> None:
    """Stop a run. Its committed rounds are kept, and fedcore resume continues it."""
    from fedcore_server.runs.store import RunStore
    from fedcore_server.service.home import ServerHome

    store = RunStore(ServerHome(home).runs)
    found = store.directory(name).name
    store.request_stop(found)
    print(f"run {found} is being stopped; continue it with: fedcore resume {found} --home {home}")


def resume(
    name: Name,
    home: Home = _HOME,
    follow: Follow = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return at once.")] = False,
    as_json: Json = False,
) -> None:
    """Resume a run that was stopped, paused or failed, from its last committed round."""
    from fedcore_server.service.home import ServerHome

    at = ServerHome(home)
    from fedcore_server.runs.following import wait_for
    from fedcore_server.runs.store import RunStore

    store = RunStore(at.runs)
    found = store.directory(name).name
    before = store.status(found).incarnation
    store.queue_again(found)
    _warn_if_not_served(at)
    if detach:
        print(found)
        return
    raise typer.Exit(wait_for(store, found, before=before, follow=follow, as_json=as_json))


def waive(  # noqa: PLR0917 - typer reads the options from the signature
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run whose model was withheld.")],
    reason: Annotated[str, typer.Option(help="Why the model is used anyway; it is printed in the report.")] = "",
    by: Annotated[str, typer.Option(help="Who decided.")] = "",
    home: Annotated[Path, typer.Option(help="A consortium's home; its coordinator's key signs.")] = _HOME,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day on which it is valid.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check whether the waiver is genuine and valid.")] = False,
) -> None:
    """Release a model that the bias audit withheld, signed and with a reason.

    The audit's verdict does not change; the waiver is added to it, in waiver.json, in bias.md and in the report.
    An expired one can be replaced by another. With --check the exit code is 1 where a waiver has expired, and 2
    where it is not genuine. A simulation has no consortium: make one for its signature with fedcore consortium init.

    Examples:
      fedcore waive federation/runs/digits-0001 --by "Dr. Ada Byron" --reason "pilot in one ward, reviewed weekly"
      fedcore waive federation/runs/digits-0001 --check
    """
    from fedcore.report.release_words import waiver_words
    from fedcore_server.consortium.home import ConsortiumHome
    from fedcore_server.runs.waiver import check_waiver, is_over
    from fedcore_server.runs.waiver import waive as sign

    signer = ConsortiumHome.open(home).coordinator()
    if check:
        waiver = check_waiver(run, signer.public)
        typer.echo(waiver_words(waiver))
        if is_over(waiver, date.today()):
            typer.echo("it is over", err=True)
            raise typer.Exit(1)
        return
    sign(run, signer, reason=reason, by=by, until=until.date() if until else None)
    typer.echo(
        f"released {run / 'model.safetensors'}; the waiver is in {run / 'waiver.json'}, in bias.md and in the report"
    )


def _facts(store: Any, name: str) -> dict[str, Any]:
    from fedcore.plan import read_toml

    status = store.readable_status(name)
    plan = read_toml(store.path / name / "plan.toml")
    lines = list(store.rounds(name))
    return {
        "run": name,
        "state": status.state.value,
        "reason": status.reason,
        "task": plan["task"]["name"],
        "rounds": plan["federation"]["rounds"],
        "rounds_committed": sum(1 for line in lines if line["committed"]),
        "incarnation": status.incarnation,
        "submitted": status.submitted,
        "changed": status.changed,
        "directory": str(store.path / name),
    }


def _warn_if_not_served(at: Any) -> None:
    if not at.is_served():
        typer.echo(
            f"no server runs in {at.path}; the run waits for: fedcore server start --home {at.path}",
            err=True,
        )
