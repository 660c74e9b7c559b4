"""Watching a run from the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedcore.plan import read_toml
from fedcore.privacy.accounting import rounded_up
from fedcore.text.wording import named
from fedcore_server.runs.audit_words import audit_words
from fedcore_server.runs.beginning import Beginning
from fedcore_server.runs.participation import codes_in_words, participation
from fedcore_server.runs.release import exit_code
from fedcore_server.runs.store import RunState, RunStatus, RunStore

_LOOK_SECONDS = 0.2
_INTERRUPTED = 130
_EXIT_CODES = {RunState.FAILED: 1, RunState.STOPPED: 5, RunState.PAUSED: 75}


def wait_for(store: RunStore, name: str, *, before: int, follow: bool, as_json: bool) -> int:
    """Wait for the end of a run and print how it begins and ends; return the exit code.

    Args:
        before: How often the run had been started when it was queued.
        follow: A line for every round; otherwise a bar shows them.
        as_json: Only the summary, on standard output.
    """
    console = Console(stderr=True, highlight=False)
    plan = read_toml(store.path / name / "plan.toml")
    total = plan["federation"]["rounds"]
    beginning = Beginning(store.path / name / "events.jsonl", plan, incarnation=before)
    console.print(_queued_words(store, name), soft_wrap=True, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, disable=follow or not console.is_terminal) as progress:
            task = progress.add_task(name, total=total, state="waiting")
            journal = store.journal(name)
            while True:
                status = store.status(name)
                for news in beginning.news():
                    console.print(news, soft_wrap=True, markup=False)
                for line in journal.new_lines():
                    progress.update(task, completed=line["round"], state=_round_words(line, total))
                    if follow:
                        console.print(_round_words(line, total), soft_wrap=True, markup=False)
                if status.state.ended:
                    break
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        home = store.path.parent
        console.print(
            f"the run continues; see fedcore show {name} --home {home}, and fedcore stop {name} --home {home}"
        )
        return _INTERRUPTED
    _print_end(console, store, name, status, as_json=as_json)
    if status.state is RunState.FINISHED:
        return exit_code(json.loads((store.path / name / "summary.json").read_text(encoding="utf-8")))
    return _EXIT_CODES[status.state]


def print_run(store: RunStore, name: str) -> None:
    console = Console(highlight=False)
    status, lines = store.status(name), list(store.rounds(name))
    console.print(f"{name}: {status.state}{', ' + status.reason if status.reason else ''}", markup=False)
    started = {0: "not started yet", 1: "started once"}.get(status.incarnation, f"started {status.incarnation} times")
    changed = f", changed {status.changed[:19]}" if status.changed else ""
    console.print(f"{started}; submitted {status.submitted[:19]}{changed}")
    if lines:
        console.print(_round_words(lines[-1], read_toml(store.path / name / "plan.toml")["federation"]["rounds"]))
        _print_participation(console, lines)
    console.print(f"directory  {store.path / name}", soft_wrap=True)


def _queued_words(store: RunStore, name: str) -> str:
    busy = [each for each in store.names() if each != name and not store.readable_status(each).state.ended]
    return f"run {name} is queued{f', behind {named(busy)}' if busy else ''}; Ctrl-C leaves it to the server"


def _print_end(console: Console, store: RunStore, name: str, status: RunStatus, *, as_json: bool) -> None:
    directory = store.path / name
    if status.state != RunState.FINISHED:
        if as_json:
            print(json.dumps({"run": name, "state": status.state, "reason": status.reason}, indent=2))
        console.print(f"run {name} is {status.state}: {status.reason}", soft_wrap=True, markup=False)
        for last in list(store.rounds(name))[-1:]:
            for each in (*last["rejected"], *last.get("evaluation_rejected", ())):
                console.print(f"  {each['client']}: {each['code']}, {each['reason']}", soft_wrap=True, markup=False)
        if status.state in (RunState.PAUSED, RunState.STOPPED):
            console.print(f"resume it with: fedcore resume {name} --home {store.path.parent}", soft_wrap=True)
        return
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    metrics = ", ".join(f"{key} {value:.4g}" for key, value in summary["metrics"].items())
    verdict = [f"audit  {summary['audit_verdict']}"] if summary["audit_verdict"] else []
    lines = [f"finished: {metrics}", *verdict, *audit_words(directory), f"report  {directory / 'report.html'}"]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    _print_participation(console, list(store.rounds(name)))
    for warning in summary["warnings"]:
        console.print(f"! {warning}", soft_wrap=True, markup=False)


def _print_participation(console: Console, lines: list[Mapping[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    numbers = ("asked", "answered", "counted", "evaluated")
    for heading in ("client", *numbers, "rejected", "strikes"):
        table.add_column(heading)
    for client, facts in participation((), lines)["clients"].items():
        table.add_row(
            client, *(str(facts[key]) for key in numbers), codes_in_words(facts) or "-", str(facts["strikes"])
        )
    console.print(table)


def _round_words(line: Mapping[str, Any], total: int) -> str:
    words = [f"round {line['round']}/{total}", f"{len(line['counted'])} of {len(line['asked'])} counted"]
    if not line["committed"]:
        words.append("no quorum")
    words += [f"{each['client']} {each['code']} ({each['reason']})" for each in line["rejected"]]
    unevaluated = line.get("evaluation_rejected", ())
    words += [f"{each['client']} {each['code']} ({each['reason']}) in evaluation" for each in unevaluated]
    words += [f"{name} {value:.4g}" for name, value in (line["evaluation"] or {}).items()]
    if line["epsilon"] is not None:
        words.append(f"ε {rounded_up(line['epsilon']):.2f}")
    return "  ".join([*words, f"{line['wall_seconds']:.1f} s"])
