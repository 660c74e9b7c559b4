"""The audit of arrays: ``from fedcore.audit import audit``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fedcore.audit.metrics.catalogue import HEADLINES
from fedcore.audit.table.arrays import PREDICTED, SITE, TRUE, WEIGHT, predicted_kind, table_of_arrays
from fedcore.audit.table.bias_json import result_json
from fedcore.audit.table.kinds import audited
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.result import TableResult
from fedcore.audit.table.text.report import readable
from fedcore.audit.verdict.gate import Verdict
from fedcore.errors import DataError, PlanError
from fedcore.report.argument_words import in_python, with_arguments
from fedcore.report.page.table_audit import metric_figure, page_frame, picture_frame, render_audit
from fedcore.storage.files import write_whole
from fedcore.tasks.tabular.table import Table
from fedcore.text.toml_problems import unknown

if TYPE_CHECKING:
    import pandas as pd

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
Limits = Mapping[str, tuple[float | None, float | None]] | Sequence[str]


def _with_nearest_names(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Refuse an unknown keyword with the nearest one."""
    known = [*signature(function).parameters]

    @wraps(function)
    def called(*args: _Given.args, **given: _Given.kwargs) -> _Result:
        if problems := [
            unknown(name, known, f"argument of {function.__name__}") for name in given if name not in known
        ]:
            raise PlanError(problems)
        return function(*args, **given)

    return called


@_with_nearest_names
def audit(
    y_true: Any,
    predicted: Any,
    *,
    groups: Any,
    limits: Limits = (),
    kind: str | None = None,
    crossed: Sequence[str] = (),
    positive: object = None,
    threshold: float | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
    weights: Any = None,
    sites: Any = None,
    references: Mapping[str, object] | None = None,
    bands: Mapping[str, Sequence[float]] | None = None,
    confidence: float = 0.95,
    min_cell: int | None = None,
    min_rows: int = 0,
    min_share: float | None = None,
    missing: str = "refuse",
) -> Audit:
    """Compare how predictions serve groups of people, with confidence intervals; the same as ``fedcore audit bias``.

    Arrays, series and lists of shape (rows,) are taken by position, whatever their index.

    Args:
        y_true: Labels as numbers or texts, or targets that are numbers; None where only decisions are known.
        predicted: Decisions in the words of the labels, scores, or predicted numbers.
        groups: A frame with a column for each attribute, a series, a mapping, or one list or array. Cells that are
            empty are the group ``unknown``, which is shown and not compared.
        limits: ``{metric: (least, most)}``: the least ratio of two groups, and the most difference; ``min(metric)`` and
            ``max(metric)`` hold for every group, and ``attribute:metric`` for one attribute. Or limits as the command
            takes them, such as ``["impact_ratio>=0.8"]``.
        kind: ``"decisions"``, ``"scores"`` or ``"numbers"``; found from the values by default.
        crossed: Crossings of columns of groups, such as ``["sex*race"]``.
        positive: The favourable label; by default 1, true or yes, or else the last in order.
        threshold: A row is selected if its score is at least this; the middle of the range by default.
        score_range: Ends of the scores' range.
        weights: How many rows each stands for; fractions are sampling weights.
        sites: Where each row comes from, to split every gap.
        references: For attributes the group that the others are compared with.
        bands: For columns of numbers the edges between groups.
        confidence: Of every interval.
        min_cell: Groups and rates of fewer rows are hidden; by default none here, and those under 10 in a saved page.
        min_rows: Groups of fewer rows are shown, and not judged.
        min_share: Groups of a smaller share of the rows are shown, and not judged.
        missing: ``"refuse"`` rows without a label or prediction, or ``"drop"`` and count them.

    Raises:
        PlanError: The arguments contradict one another, or a limit names no metric; the nearest name is given.
        DataError: The columns differ in length, have missing values, or hold one group only.
    """
    given = dict(locals())
    with in_python():
        return Audit(result=audited(*_asked(**given)))


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of an audit; a notebook shows it as a page."""

    result: TableResult[Any]

    @property
    def verdict(self) -> Verdict | None:
        """PASS, FAIL or INCONCLUSIVE; None without limits, which is not a PASS."""
        return self.result.verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(finding.reason for finding in self.result.findings)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know besides the numbers, in sentences."""
        return tuple(map(with_arguments, self.result.notes))

    @cached_property
    def by_group(self) -> pd.DataFrame:
        """Every metric of every group: value, ends of its interval, number of rows."""
        rows = {
            (attribute, group, metric): one
            for attribute, by_group in self._content["groups"].items()
            for group, metrics in by_group.items()
            for metric, one in metrics.items()
        }
        return _frame(rows, ["attribute", "group", "metric"], ["value", "low", "high", "n"])

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Every metric's clearest gap: difference and ratio with intervals, and the two groups with their rows."""
        rows = {
            (attribute, metric): {
                **gap,
                **{f"{side}_n": (gap[f"{side}_count"] or {}).get("of") for side in ("highest", "lowest")},
            }
            for attribute, gaps in self._content["gaps"].items()
            for metric, gap in gaps.items()
        }
        columns = ["difference", "low", "high", "ratio", "ratio_low", "ratio_high", "highest", "highest_n", "lowest"]
        return _frame(rows, ["attribute", "metric"], [*columns, "lowest_n"])

    def to_json(self) -> dict[str, Any]:
        return result_json(self.result)

    def plot(self, metric: str | None = None, attribute: str | None = None) -> Picture:
        """Return a picture of a metric by group, with intervals.

        Args:
            metric: By default the accuracy, the mean absolute error, or without labels the selection rate.
            attribute: By default the first.

        Raises:
            PlanError: Unknown metric or attribute.
        """
        name = _one_of("attribute", attribute, [*self._content["groups"]])
        metrics = [*dict.fromkeys(self.by_group.loc[name].index.get_level_values("metric"))]
        usual = next((one for one in HEADLINES if one in metrics), metrics[0])
        figure = metric_figure(self.result, name, _one_of("metric", metric or usual, metrics))
        return Picture(svg=str(figure.picture), html=picture_frame(figure))

    def save(self, path: str | Path) -> Path:
        """Write the page: one file without scripts or network access. Cells of under 10 rows are hidden in it.

        Args:
            path: Ends in .html or .htm.

        Raises:
            PlanError: It has another ending.
            StorageError: It cannot be written.
        """
        if Path(path).suffix.lower() not in (".html", ".htm"):
            raise PlanError(f"save writes a page of HTML: expected a name that ends in .html, found {str(path)!r}")
        shared = self.result.to_share()
        write_whole(Path(path), render_audit(shared, notes=tuple(map(with_arguments, shared.notes))))
        return Path(path)

    def __str__(self) -> str:
        return with_arguments(readable(self.result, closing=""))

    def _repr_html_(self) -> str:
        return page_frame(self.result, notes=self.notes)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return result_json(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture for notebooks: `svg` is an element without style, `html` a frame with it."""

    svg: str
    html: str

    def _repr_html_(self) -> str:
        return self.html


def _asked(
    *,
    y_true: Any,
    predicted: Any,
    groups: Any,
    limits: Limits,
    kind: str | None,
    crossed: Sequence[str],
    positive: object,
    weights: Any,
    sites: Any,
    references: Mapping[str, object] | None,
    bands: Mapping[str, Sequence[float]] | None,
    **as_they_are: Any,
) -> tuple[BiasOptions, Table]:
    if predicted is None:
        raise DataError("predicted: expected decisions, scores or numbers, one for each row; found None")
    columns = {TRUE: y_true, PREDICTED: predicted, WEIGHT: weights, SITE: sites}
    table, attributes = table_of_arrays(groups, columns)
    found = predicted_kind(table, kind)
    options = BiasOptions(
        table=Path(table.source),
        label=None if y_true is None else TRUE,
        score=PREDICTED if found == "scores" else None,
        prediction=None if found == "scores" else PREDICTED,
        kind="regression" if found == "numbers" else "classification",
        groups=(*attributes, *crossed),
        limits=tuple(_limits(limits)),
        positive=None if positive is None else _text(positive),
        weight=None if weights is None else WEIGHT,
        site=None if sites is None else SITE,
        references=tuple((name, _text(group)) for name, group in (references or {}).items()),
        bands=tuple((name, tuple(map(float, edges))) for name, edges in (bands or {}).items()),
        **as_they_are,
    )
    return options, table


def _limits(limits: Limits) -> Iterator[str]:
    if not isinstance(limits, Mapping):
        yield from (limits,) if isinstance(limits, str) else limits
        return
    for metric, ends in limits.items():
        if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
            raise PlanError(f"limits: {metric!r} needs (least, most), such as (0.8, None), and has {ends!r}")
        yield from (f"{metric}{sign}{end}" for sign, end in zip((">=", "<="), ends, strict=True) if end is not None)


def _text(value: object) -> str:
    """Write a label as the table does: whole numbers without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _frame(rows: Mapping[Any, Mapping[str, Any]], index: list[str], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    names = pd.MultiIndex.from_tuples([*rows], names=index)
    return pd.DataFrame([{name: one[name] for name in columns} for one in rows.values()], index=names, columns=columns)


def _one_of(what: str, given: str | None, known: Sequence[str]) -> str:
    if given is None:
        return known[0]
    if given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        raise PlanError(
            f"there is no {what} {given!r}; " + (f"did you mean {near[0]!r}?" if near else ", ".join(known))
        )
    return given
