"""A simulated federation's rows as files, one for each client, to deploy on one machine what was simulated."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedcore.data.example_files import SUFFIX, save_client_file
from fedcore.errors import FedcoreError, PlanError, RunDirectoryError, TrustError
from fedcore.plan import RunPlan
from fedcore.storage.files import write_whole
from fedcore.tasks.registry import load_task, settled
from fedcore.trust.identity import COORDINATOR, check_client_name
from fedcore.trust.private_file import remove_if_empty
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations.preparation import Preparation, prepare

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What was written.

    Attributes:
        plan: As a server runs it: complete, and without the path of the rows.
        data_set: The name under which a client offers its file.
        names: Clients in the order of `files`, as a consortium can admit them.
        renamed: New name by simulated name, where they differ.
        rows: Training and held-out rows of each file; ``None`` where their number is secret.
    """

    plan: RunPlan
    data_set: str
    names: tuple[str, ...]
    files: tuple[Path, ...]
    renamed: Mapping[str, str]
    rows: tuple[tuple[int, int], ...] | None


def write_division(plan: RunPlan, out: Path) -> Division:
    """Write each client's rows, exactly those of a simulation, and last ``plan.toml``.

    Args:
        out: Directory that is absent or empty.

    Raises:
        FedcoreError: The plan cannot be simulated, or not be deployed, or a file cannot be written; nothing is left
            behind.
    """
    check_vacant(out)
    plan = settled(plan)
    ready = prepare(load_task(plan), plan)
    deployed = deployed_plan(ready.plan)
    names = member_names(client.name for client in ready.clients)
    files = tuple(out / f"{name}{SUFFIX}" for name in names)
    _write(ready, deployed, out, files)
    simulated = [client.name for client in ready.clients]
    return Division(
        plan=deployed,
        data_set=deployed.task.name,
        names=names,
        files=files,
        renamed={old: new for old, new in zip(simulated, names, strict=True) if old != new},
        rows=None if ready.split is None else tuple(_counts(ready)),
    )


def deployed_plan(resolved: RunPlan) -> RunPlan:
    """The plan of a simulation as a server can run it.

    Raises:
        PlanError: The task needs the data itself, or the plan is for simulations only.
    """
    mapping = resolved.to_mapping()
    mapping["task"].pop("data", None)
    del mapping["engine"]
    plan = RunPlan.from_mapping(mapping)
    try:
        load_task(plan)
    except FedcoreError as error:
        raise PlanError(
            f"a server, which has no data, cannot build the task {plan.task.name!r}: {error}. Where the task drafts a "
            "schema from the data, write it down with: fedcore schema FILE --out schema.toml; and give it with: "
            "--set task.options.schema=schema.toml"
        ) from error
    return deployable(plan)


def member_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names that a consortium can admit, all different; valid ones are unchanged."""
    given: list[str] = []
    for name in names:
        given.append(_different(_plain(name), given))
    return tuple(given)


def check_vacant(out: Path) -> None:
    """Raises RunDirectoryError: `out` is a file or holds something."""
    try:
        vacant = not out.exists() or not any(out.iterdir())
    except OSError as error:
        raise RunDirectoryError(f"{out} cannot be used as a directory: {error.strerror or error}") from error
    if not vacant:
        raise RunDirectoryError(f"{out} is not empty; give a directory that is absent or empty")


def _write(ready: Preparation, plan: RunPlan, out: Path, files: tuple[Path, ...]) -> None:
    """Write everything or nothing."""
    with contextlib.ExitStack() as undo:
        _make_directory(out, undo)
        for client, path in zip(ready.clients, files, strict=True):
            undo.callback(path.unlink, missing_ok=True)
            save_client_file(path, client.training, client.held_out)
        undo.callback((out / "plan.toml").unlink, missing_ok=True)
        write_whole(out / "plan.toml", plan.to_toml())
        undo.pop_all()


def _make_directory(out: Path, undo: contextlib.ExitStack) -> None:
    missing = [path for path in (out, *out.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            undo.callback(remove_if_empty, path)
    except OSError as error:
        raise RunDirectoryError(f"the directory {out} cannot be made: {error.strerror or error}") from error


def _plain(name: str) -> str:
    with contextlib.suppress(TrustError):
        return check_client_name(name)
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    return plain[:_LONGEST_NAME] if plain and plain != COORDINATOR else f"client-{plain}".rstrip("-")


def _different(name: str, given: list[str]) -> str:
    """The name itself, or with a number where it is taken."""
    number, candidate = 1, name
    while candidate in given:
        number += 1
        ending = f"-{number}"
        candidate = f"{name[: _LONGEST_NAME - len(ending)]}{ending}"
    return candidate


def _counts(ready: Preparation) -> Iterable[tuple[int, int]]:
    for client in ready.clients:
        yield len(client.training), 0 if client.held_out is None else len(client.held_out)
