"""What varies in a sweep, and the plan of each run."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedcore.errors import PlanError
from fedcore.plan import RunPlan, merge
from fedcore.report.comparison.settings import short_names
from fedcore_simulations.commands.options import base_mapping, checked_plan, nested, value_of, with_settings

SEED = "federation.seed"
_LONGEST_NAME = 150
_OPEN, _CLOSED = "[{", "]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One key of the plan and its values, as they were written."""

    key: str
    texts: tuple[str, ...]

    @classmethod
    def of(cls, option: str) -> Axis:
        """Read ``section.key=value,value``.

        Raises:
            PlanError: It is not written so, or a value is empty or there twice.
        """
        key, separator, rest = option.partition("=")
        key, texts = key.strip(), tuple(text.strip() for text in separate(rest))
        if not separator or key.count(".") < 1 or not all(key.split(".")):
            raise PlanError(f"--vary: expected section.key=value,value, found {option!r}")
        if not all(texts):
            raise PlanError(f"--vary {key}: expected values between commas, found an empty one in {rest!r}")
        values = [json.dumps(value_of(text), default=str) for text in texts]
        if twice := next((text for text, value in zip(texts, values, strict=True) if values.count(value) > 1), None):
            raise PlanError(f"--vary {key}: the value {twice} is there twice")
        return cls(key=key, texts=texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun:
    """One run of the grid.

    Attributes:
        name: Of its directory, made of its settings.
        settings: Text of each value that varies, by ``section.key``; the seed last.
    """

    name: str
    settings: Mapping[str, str]
    plan: RunPlan


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All combinations of values, with several seeds each.

    Attributes:
        subject: What the runs are of: a plan file, a scenario, or a task of your own.
        settings: ``section.key=value`` texts that hold for every run.
        seeds: Runs of each combination, with the seeds from the plan's on.
    """

    subject: str | None
    settings: tuple[str, ...]
    axes: tuple[Axis, ...]
    seeds: int

    @property
    def size(self) -> int:
        return math.prod(len(axis.texts) for axis in self.axes) * self.seeds

    @cached_property
    def base(self) -> dict[str, Any]:
        return with_settings(base_mapping(self.subject), self.settings)

    def check(self) -> None:
        """Try each value by itself, so that what is misspelt shows before thousands of plans are made.

        Raises:
            PlanError: All that is wrong; names of keys and values with the nearest known one.
        """
        self._check_axes()
        problems: dict[str, None] = {}
        for axis in self.axes or (Axis(key=SEED, texts=(str(self._first_seed),)),):
            others = {other.key: other.texts[0] for other in self.axes}
            for text in axis.texts:
                try:
                    self._plan({**others, axis.key: text})
                except PlanError as error:
                    problems |= dict.fromkeys(error.problems)
        if problems:
            raise PlanError(list(problems))

    def runs(self) -> list[GridRun]:
        """Every run: all combinations with the first seed, then with the next.

        Raises:
            PlanError: Some combination contradicts itself; the first ones are named.
        """
        made, problems = list[GridRun](), list[str]()
        names = short_names([*(axis.key for axis in self.axes), SEED])
        for settings in self._combinations():
            try:
                plan = self._plan(settings)
            except PlanError as error:
                problems.append(f"{_name(settings, names)}: {error}")
                continue
            made.append(GridRun(name=_name(settings, names), settings=settings, plan=plan))
        if problems:
            more = [f"and {len(problems) - 5:,} more combinations"] if len(problems) > 5 else []
            raise PlanError([*problems[:5], *more])
        return made

    def command(self, run: GridRun) -> list[str]:
        """The command that makes the same run by hand."""
        varied = [f"{key}={text}" for key, text in run.settings.items()]
        subject = [self.subject] if self.subject else []
        return [
            "fedcore",
            "simulate",
            *subject,
            *(part for each in (*self.settings, *varied) for part in ("--set", each)),
        ]

    def _check_axes(self) -> None:
        keys = [axis.key for axis in self.axes]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise PlanError(f"--vary: {', '.join(twice)} is there twice; give all its values in one")
        if "task.name" in keys:
            raise PlanError("--vary task.name: runs of different tasks cannot be compared; make a sweep of each")
        if SEED in keys and self.seeds > 1:
            raise PlanError(f"--vary {SEED} and --seeds say the same; leave one out")
        if {"privacy.epsilon", "privacy.noise-multiplier"} <= set(keys):
            raise PlanError(
                "--vary: expected one of privacy.epsilon (a target) and privacy.noise-multiplier, found both"
            )
        if self.size == 1:
            raise PlanError(
                "nothing varies: give --vary section.key=value,value or --seeds; for one run: fedcore simulate"
            )

    @cached_property
    def _first_seed(self) -> int:
        seed = self.base.get("federation", {}).get("seed", 0)
        return seed if isinstance(seed, int) else 0

    def _combinations(self) -> Iterator[dict[str, str]]:
        has_seed = any(axis.key == SEED for axis in self.axes)
        seeds = [{}] if has_seed else [{SEED: str(self._first_seed + k)} for k in range(self.seeds)]
        for seed in seeds:
            for texts in itertools.product(*(axis.texts for axis in self.axes)):
                yield {axis.key: text for axis, text in zip(self.axes, texts, strict=True)} | seed

    def _plan(self, settings: Mapping[str, str]) -> RunPlan:
        mapping = self.base
        for key, text in settings.items():
            mapping = merge(mapping, nested(key.split("."), value_of(text)))
        return checked_plan(mapping)


def separate(text: str) -> list[str]:
    """Split at commas, but not inside quotes, brackets or braces."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += 0 if quote else (character in _OPEN) - (character in _CLOSED)
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _name(settings: Mapping[str, str], names: Mapping[str, str]) -> str:
    """A directory's name: characters that file systems or shells read otherwise become ``-``."""
    ordered = {key: text for key, text in settings.items() if key != SEED} | {SEED: settings[SEED]}
    parts = [f"{names[key]}={re.sub(r'[^A-Za-z0-9._:+-]+', '-', text).strip('-')}" for key, text in ordered.items()]
    name, exact = ",".join(parts), json.dumps(ordered)
    plain = all(re.fullmatch(r"[A-Za-z0-9._:+-]+", text) for text in settings.values())
    if plain and len(name) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(exact.encode()).hexdigest()[:8]
    seed = parts[-1]
    return f"{name[: _LONGEST_NAME - len(seed) - 10].removesuffix(seed).rstrip(',')},{mark},{seed}"
