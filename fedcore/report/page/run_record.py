"""A finished run as typed values, read from its directory; what is optional may be absent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fedcore.audit.metrics.catalogue import HEADLINES
from fedcore.errors import RunDirectoryError

Metrics = Mapping[str, float]


# What XML cannot hold, and halves of characters, which UTF-8 cannot.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate of one group; `value` is None if undefined or suppressed, `n` if suppressed."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    suppressed: bool = False

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Rate:
        """Read ``{value, low, high, n, suppressed?}``; a missing number of rows means it is hidden."""
        n = found.get("n")
        return cls(
            value=found.get("value"),
            low=found.get("low"),
            high=found.get("high"),
            n=None if n is None else int(n),
            suppressed=bool(found.get("suppressed", False)) or (found.get("value") is None and n is None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    round: int
    client: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One line of ``rounds.jsonl``.

    Attributes:
        evaluation: None if this round was not evaluated.
        groups: Accuracy, or as `group_metric` says, ``{attribute: {group: rate}}``.
        clients: Metrics of each client, with its number of rows under ``n``.
        simulated_clock: Simulated seconds since the run began; None where it has no simulated time.
        simulated_spans: When each client began and ended in it.
    """

    number: int
    attempt: int = 0
    committed: bool = True
    asked: Sequence[str] = ()
    counted: Sequence[str] = ()
    rejected: tuple[Rejection, ...] = ()
    training: Metrics = field(default_factory=dict)
    update_norm: float | None = None
    evaluation: Metrics | None = None
    groups: Mapping[str, Mapping[str, Rate]] = field(default_factory=dict)
    clients: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    epsilon: float | None = None
    group_metric: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    wall_seconds: float = 0.0
    simulated_clock: float | None = None
    simulated_spans: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Round:
        number, evaluation = int(line["round"]), line.get("evaluation")
        rejected = (*(line.get("rejected") or ()), *(line.get("evaluation_rejected") or ()))
        typed = {
            "rejected": tuple(
                Rejection(round=number, client=r["client"], code=r["code"], reason=r.get("reason") or "")
                for r in rejected
            ),
            "training": _numbers(line.get("training")),
            "evaluation": None if evaluation is None else _numbers(evaluation),
            "groups": _rates(line.get("groups")),
        }
        return cls(**{**_known(cls, line), "number": number, **typed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """The content of ``bias.json``.

    Attributes:
        groups: ``{attribute: {metric: {group: rate}}}``, reordered from the file.
        gaps: ``{attribute: {metric: gap}}`` as in the file.
        calibration: ``{attribute: {group: [bin]}}`` as in the file.
        by_class: Each of several labels against the others, ``{attribute: {worst, classes}}`` as in the file.
        spread: How evenly clients are served, as under ``clients`` in the file.
    """

    groups: Mapping[str, Mapping[str, Mapping[str, Rate]]] = field(default_factory=dict)
    overall: Mapping[str, Mapping[str, Rate]] = field(default_factory=dict)
    gaps: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]] = field(default_factory=dict)
    by_class: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sites: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    spread: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Mapping[str, Any]] = ()
    decisions: Sequence[Mapping[str, Any]] = ()
    population: str = ""
    confidence: float = 0.95
    min_cell: int = 10

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Bias:
        groups: dict[str, dict[str, dict[str, Rate]]] = {}
        for attribute, by_group in (content.get("groups") or {}).items():
            for group, metrics in by_group.items():
                for metric, rate in metrics.items():
                    groups.setdefault(attribute, {}).setdefault(metric, {})[group] = Rate.of(rate)
        typed = {
            "groups": groups,
            "overall": _rates(content.get("overall")),
            "sites": {
                name: {metric: split for metric, split in splits.items() if split is not None}
                for name, splits in (content.get("sites") or {}).items()
            },
            "spread": content.get("clients") or {},
        }
        return cls(**{**_known(cls, content), **typed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a simulation distributed the rows: counts of shape (clients, categories)."""

    attribute: str
    categories: tuple[str, ...]
    clients: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    held_out: tuple[int, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Split | None:
        counts = tuple(tuple(int(n) for n in row) for row in content.get("counts") or ())
        if not counts or not counts[0]:
            return None
        return cls(
            attribute=str(content.get("attribute") or "label"),
            categories=tuple(str(name) for name in content["categories"]),
            clients=tuple(str(name) for name in content["clients"]),
            counts=counts,
            held_out=tuple(int(n) for n in content.get("held_out") or ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A finished run.

    Attributes:
        plan: The text of ``plan.toml``; empty if absent.
        privacy: The statement; empty without DP.
    """

    summary: Mapping[str, Any]
    plan: str = ""
    rounds: tuple[Round, ...] = ()
    privacy: Mapping[str, Any] = field(default_factory=dict)
    bias: Bias = field(default_factory=Bias)
    split: Split | None = None

    @property
    def evaluated(self) -> tuple[Round, ...]:
        return tuple(one for one in self.rounds if one.committed and one.evaluation)

    @property
    def chosen_round(self) -> int | None:
        """The round of the model, if the plan chose one before the last."""
        number = self.summary.get("released_round")
        return None if number is None or number == self.summary.get("rounds") else int(number)

    @property
    def final(self) -> Round | None:
        """The evaluation of the model's round: the last, unless another was chosen."""
        last = self.evaluated[-1] if self.evaluated else None
        return next((one for one in self.evaluated if one.number == self.chosen_round), last)

    @property
    def metrics(self) -> Metrics:
        return _numbers(self.summary.get("metrics"))

    @property
    def headline(self) -> str | None:
        """Name of the first metric: accuracy or error, else loss, else any."""
        names = self.metrics or (self.final.evaluation if self.final and self.final.evaluation else {})
        return next((name for name in (*HEADLINES, "loss", *names) if name in names), None)

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        return tuple(rejection for one in self.rounds for rejection in one.rejected)


def _known(cls: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a class's fields that the content has."""
    return {field.name: content[field.name] for field in fields(cls) if content.get(field.name) is not None}


def _numbers(found: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: value for name, value in (found or {}).items() if isinstance(value, int | float)}


def _rates(found: Mapping[str, Any] | None) -> dict[str, dict[str, Rate]]:
    return {name: {key: Rate.of(rate) for key, rate in rates.items()} for name, rates in (found or {}).items()}


def read_run(directory: Path) -> RunRecord:
    """Read a run directory; raises `RunDirectoryError` if ``summary.json`` is missing, or a file is malformed."""
    summary, rounds = _read_json(directory / "summary.json"), directory / "rounds.jsonl"
    if not summary:
        raise RunDirectoryError(f"{directory} holds no finished run: expected a summary.json in it")
    return RunRecord(
        summary=summary,
        plan=clean(_read_text(directory / "plan.toml")),
        rounds=tuple(Round.of(_parse(rounds, line)) for line in _read_text(rounds).split("\n") if line.strip()),
        privacy=_read_json(directory / "privacy.json"),
        bias=Bias.of(_read_json(directory / "bias.json")),
        split=Split.of(_read_json(directory / "split.json")),
    )


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    return _parse(path, text) if text.strip() else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        content = clean(json.loads(text))
    except ValueError as error:
        raise RunDirectoryError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def clean(content: Any) -> Any:
    """Replace values that no page can show: unprintable characters, infinity and NaN."""
    if isinstance(content, str):
        return _UNPRINTABLE.sub("\ufffd", content)
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {clean(key): clean(value) for key, value in content.items()}
    return [clean(value) for value in content] if isinstance(content, list) else content
