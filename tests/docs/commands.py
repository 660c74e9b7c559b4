"""The command line as documentation and deployment files use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import click
import typer

from fedcore.cli import build_app


def parsed(arguments: Sequence[str], *, place: str) -> dict[str, Any]:
    """What a command is given, by parameter; it is not run.

    Raises:
        AssertionError: There is no such command, or it has no such option.
    """
    command, rest = _root(), list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"{place}: there is no command {name!r}"
        command = command.commands[name]
    try:
        with command.make_context(command.name, rest) as context:
            return context.params
    except click.exceptions.Exit:  # help or version was asked for
        return {}
    except click.ClickException as error:
        raise AssertionError(f"{place}: fedcore {' '.join(arguments)}: {error.format_message()}") from error


def is_command(words: Sequence[str]) -> bool:
    """Whether the first words are a command; what follows one that has no subcommands is its argument."""
    command: click.Command = _root()
    for word in words:
        if not isinstance(command, click.Group):
            return True
        if word not in command.commands:
            return False
        command = command.commands[word]
    return True


def known_options() -> set[str]:
    """Every option of every command."""
    return {option for command in _all(_root()) for parameter in command.params for option in parameter.opts}


def _all(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _all(each)


@cache
def _root() -> click.Command:
    return typer.main.get_command(build_app())
