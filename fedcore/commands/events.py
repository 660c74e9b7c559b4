"""The subcommands of ``fedcore events``. Imports nothing slow: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedcore.text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

events = typer.Typer(
    name="events",
    help="Read event logs, and find out whether somebody has changed them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Log = Annotated[
    Path,
    typer.Argument(metavar="LOG", help="An events.jsonl, or a home or run directory with one.", show_default=False),
]
Witness = Annotated[
    Path | None,
    typer.Option(
        metavar="OTHER", help="Log of another party, which wrote down the heads that it saw.", show_default=False
    ),
]
Party = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Whose log LOG is, as OTHER calls it: a client, or coordinator.", show_default=False
    ),
]

_NEVER_SHOWN = ("previous", "hash", "peer_head")


@events.command()
def verify(log: Log, witness: Witness = None, party: Party = None) -> None:
    """Check that no line was changed, dropped, inserted or moved; exit code 1 when one was.

    If the newest lines were cut off, the chain is still intact: only another party's log shows it.

    Examples:
      fedcore events verify federation/runs/digits-0001
      fedcore events verify federation/runs/digits-0001 --witness hospital-a --party coordinator
    """
    if (witness is None) != (party is None):
        raise typer.BadParameter("--witness and --party go together: another's log, and its name for the owner of LOG")
    path = _log_in(log)
    breaks = _breaks(path)
    if witness is not None and party is not None:
        other = _log_in(witness)
        breaks += [f"{other}: {problem}" for problem in _breaks(other)]
        breaks += _contradictions(path, other, party) if not breaks else []
    for problem in breaks:
        print(problem)
    if breaks:
        raise typer.Exit(1)
    print(_summary(path))


@events.command()
def show(
    log: Log,
    last: Annotated[int, typer.Option(min=0, metavar="N", help="Show the newest N events; 0 shows all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON lines of the log.")] = False,
) -> None:
    """Show what happened, newest last.

    Example:
      fedcore events show hospital-a --last 5
    """
    import json

    from fedcore.storage.events import read_events

    for event in list(read_events(_log_in(log)))[-last:]:
        print(json.dumps(event, ensure_ascii=False) if as_json else "  ".join(_parts(event)))


def _log_in(path: Path) -> Path:
    from fedcore.errors import StorageError

    found = path / "events.jsonl" if path.is_dir() else path
    if not found.is_file():
        raise StorageError(f"no event log at {found}; name an events.jsonl, or a home or run directory that has one")
    return found


def _breaks(path: Path) -> list[str]:
    from fedcore.errors import StorageError
    from fedcore.storage.events import verify_events

    try:
        return verify_events(path)
    except StorageError as error:
        return [str(error)]
    except (ValueError, RecursionError):  # numbers that JSON has not, or endless nesting
        return [f"the event log {path} is damaged: a line holds what no event can"]


def _contradictions(path: Path, witness: Path, party: str) -> list[str]:
    """Heads that the other party saw and that the log lacks.

    A client sees heads of every run under the one name of the coordinator: for the log of a run, those of other
    runs are left out.
    """
    from fedcore.storage.events import FIRST_HEAD, read_events

    held = {FIRST_HEAD, *(event["hash"] for event in read_events(path))}
    run = next((event.get("run") for event in read_events(path) if event.get("event") == "driver-started"), None)
    seen = [event for event in read_events(witness) if event.get("peer") == party and "peer_head" in event]
    # A client knows a run by its name and a random token, so that no other run of that name is taken for it.
    ours = [event for event in seen if run is None or event.get("run", run) == run]
    if not ours:
        return [f"{witness} has no record of {party}: it saw no head of this log; is it the right witness?"]
    return [
        f"event {event.get('number')} of {witness} saw the head {_plain(event['peer_head'])[:12]}…, which the log "
        "lacks: lines were cut off or replaced after they had been shown"
        for event in ours
        if str(event["peer_head"]) not in held
    ]


def _summary(path: Path) -> str:
    from fedcore.storage.events import FIRST_HEAD, read_events

    found = list(read_events(path))
    head = str(found[-1]["hash"]) if found else FIRST_HEAD
    torn = path.read_bytes()[-1:] not in (b"", b"\n")
    note = "; a last line that a crash tore was never part of it" if torn else ""
    return f"whole: {counted(len(found), 'event')}, head {head}{note}"


def _parts(event: dict[str, Any]) -> Iterator[str]:
    yield f"{_plain(event.get('number', '?')):>6}"
    yield _plain(event.get("time", "?"))
    yield _plain(event.get("event", "?"))
    for name, value in event.items():
        if name not in ("number", "time", "event", *_NEVER_SHOWN):
            yield f"{_plain(name)}={_plain(value)}"


def _plain(value: object) -> str:
    """A value on one line, without terminal commands: logs contain text from others."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(letter if letter.isprintable() else "�" for letter in text)
