"""Plug-ins: what a plan names, by a registered name or as ``module:object``, with its options.

The grammar is the same at every plug-in point::

    "dirichlet"                            a registered name
    "dirichlet:0.3"                        with its first option
    "step:10:0.5"                          with its first two
    "my_module:MyPartitioner"              your own, found in the working directory first
    { name = "dirichlet", alpha = 0.3 }    either of them, with options by name

A class is called with its options; any other object is taken as it is. A first option written behind the name is a
number where it reads as one, unless the class declares it as ``str``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError, TaskError
from fedcore.text.toml_problems import kebab, nearest, unknown

Reference = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A reference, read but not imported.

    Attributes:
        name: The registered name, or ``module:object``.
        target: ``module:object`` that is imported.
        values: Options by position: the text behind a registered name.
        options: Options by name.
    """

    name: str
    target: str
    values: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The plug-ins of one kind.

    Attributes:
        what: The kind, such as ``algorithm``.
        rows: For each registered name the ``module:object`` that makes it.
        parts: Methods that each must have.
    """

    what: str
    rows: Mapping[str, str]
    parts: tuple[str, ...] = ()

    def choices(self, mark: str = "") -> str:
        """The registered names in words, each between marks, for descriptions and help."""
        return ", ".join(f"{mark}{name}{mark}" for name in self.rows) + f", or {mark}module:object{mark}"

    def read(self, reference: Reference) -> Plugin:
        """Read a reference; nothing is imported.

        Raises:
            PlanError: It names neither a registered plug-in nor a ``module:object``.
        """
        text, options = _name_and_options(reference, self.what)
        name, separator, rest = text.partition(":")
        if name in self.rows:
            return Plugin(name=name, target=self.rows[name], values=(rest,) if separator else (), options=options)
        if self.rows and not _is_path(rest):  # "zipf:1" names no object
            found, _, value = rest.partition(":")
            if value and _is_path(found):
                raise PlanError(
                    f"{self.what} {text!r}: options of your own {self.what} are given by name, as in "
                    f'{{ name = "{name}:{found}", option = {value} }}; on the command line for an algorithm: '
                    f"--set algorithm.options.OPTION={value}"
                )
            raise PlanError(f"{unknown(name, self.rows, self.what)} (one of your own: module:object)")
        return Plugin(name=text, target=text, values=(), options=options)

    def load(self, reference: Reference) -> Any:
        """Import what a reference names, and make nothing of it.

        Raises:
            PlanError: The name is unknown.
            TaskError: It cannot be imported.
        """
        return self._found(self.read(reference))

    def make(self, reference: Reference, *context: Any, **named_context: Any) -> Any:
        """Import what a reference names, and make it.

        Args:
            context: Arguments that every class of the kind is given, before its options.
            named_context: The same, by name.

        Raises:
            PlanError: The name is unknown, or the options are not its own or out of range.
            TaskError: It cannot be imported, or lacks a part of the contract.
        """
        return self.build(self.read(reference), *context, **named_context)

    def build(self, plugin: Plugin, *context: Any, **named_context: Any) -> Any:
        """As `make`, of a reference that was read."""
        made = self._made(self._found(plugin), plugin, context, named_context)
        missing = [part for part in self.parts if not callable(getattr(made, part, None))]
        if missing:
            raise TaskError(f"{self.what} {plugin.name!r} lacks {', '.join(missing)}")
        return made

    def _found(self, plugin: Plugin) -> Any:
        try:
            return load_object(plugin.target, what=self.what)
        except TaskError as error:
            near = None if plugin.name in self.rows else nearest(plugin.name.partition(":")[0], self.rows)
            if near is None or not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            raise TaskError(f"{error}; did you mean {near!r}?") from error.__cause__

    def _made(self, found: Any, plugin: Plugin, context: tuple[Any, ...], named_context: dict[str, Any]) -> Any:
        if not isinstance(found, type):
            if plugin.options:
                raise PlanError(f"{self.what} {plugin.name!r} is an object, not a class, and takes no options")
            return found
        options = {name.replace("-", "_"): value for name, value in plugin.options.items()}
        signature = inspect.signature(found)
        own = [each for name, each in signature.parameters.items() if name not in named_context][len(context) :]
        is_text = bool(own) and own[0].annotation in (str, "str")
        values = plugin.values if is_text else _by_position(plugin.values, own)
        try:
            given = signature.bind(*context, *values, **named_context, **options).arguments
        except TypeError as error:
            takes = ", ".join(kebab(each.name) for each in own) or "none"
            raise PlanError(f"{self.what} {plugin.name!r}: {error}; its options are: {takes}") from error
        wrong = [each.name for each in own if _is_number(each) and isinstance(given.get(each.name), str)]
        if wrong:
            problems = (f"{kebab(name)}: expected a number, found {given[name]!r}" for name in wrong)
            raise PlanError(f"{self.what} {plugin.name!r}: {'; '.join(problems)}")
        try:
            return found(*context, *values, **named_context, **options)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise PlanError(f"{self.what} {plugin.name!r}: {error}") from error


def load_object(reference: str, *, what: str) -> Any:
    """Import the object that ``module:object`` names; the working directory is searched as by ``python -m``.

    Raises:
        TaskError: The reference is malformed, the module cannot be imported, or it has no such object.
    """
    module_name, separator, attribute = reference.partition(":")
    if not (module_name and separator and attribute):
        raise TaskError(f"expected {what} as 'module:object', found {reference!r}")
    search_working_directory()
    try:
        loaded: Any = importlib.import_module(module_name)
    except Exception as error:
        raise TaskError(
            f"{what} {reference!r}: module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(loaded, part):
            raise TaskError(f"{what} {reference!r}: module {module_name!r} has no {attribute!r}")
        loaded = getattr(loaded, part)
    return loaded


def search_working_directory() -> None:
    """Let modules of the working directory be found, before those that are installed."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def name_of(reference: Reference) -> str:
    """The name in a reference, with the option behind it, for messages and policies."""
    return reference if isinstance(reference, str) else str(reference.get("name", ""))


def option_of(reference: Reference, name: str, option: str) -> Any:
    """The first option, called `option`, where the reference names the plug-in `name`; else ``None``."""
    text, options = _name_and_options(reference, "plug-in")
    found, separator, rest = text.partition(":")
    return None if found != name else rest if separator else options.get(option)


def own_modules(references: Iterable[Reference], registry: Registry) -> tuple[str, ...]:
    """The ``module:object`` of each reference that is not registered."""
    plugins = (registry.read(reference) for reference in references)
    return tuple(plugin.target for plugin in plugins if plugin.name not in registry.rows)


def _is_path(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def literal(text: str) -> int | float | str:
    """A number where the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _by_position(values: tuple[str, ...], own: Sequence[inspect.Parameter]) -> tuple[int | float | str, ...]:
    """The text behind a name as one option for each colon; the last one takes the rest."""
    return tuple(literal(part) for text in values for part in text.split(":", max(0, len(own) - 1)))


def _is_number(option: inspect.Parameter) -> bool:
    return option.annotation in (int, float, "int", "float") or type(option.default) in (int, float)


def _name_and_options(reference: Reference, what: str) -> tuple[str, dict[str, Any]]:
    if isinstance(reference, str):
        return reference, {}
    options = dict(reference)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise PlanError(f"{what}: expected a table with a name, found {dict(reference)!r}")
    return name, options
