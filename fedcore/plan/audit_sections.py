"""The sections of a plan about the audit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedcore.plan.section import Count, OpenUnit, PluginReference, Section


class LimitSection(Section):
    """One limit, declared before the run."""

    metric: str = Field(description="a metric of the audit, such as `accuracy`, `auc` or `equalized_odds`")
    attribute: str = Field("*", description="the attribute it holds for; `*` is every one")
    kind: Literal["difference", "ratio", "worst-group"] = Field(
        "difference",
        description="largest minus smallest, smallest over largest, or `worst-group`, the metric itself in every group",
    )
    at_most: float | None = Field(None, description="largest difference, or value in any group, allowed")
    at_least: float | None = Field(None, description="smallest ratio, or value in any group, allowed")


class AuditSection(Section):
    """Which groups are compared, and within which limits."""

    sensitive: tuple[str, ...] = Field((), description="attributes to audit; `a*b` crosses two")
    favourable: str | None = Field(None, description="label that counts as selected; by default the second of two")
    threshold: OpenUnit = Field(0.5, description="score from which a row counts as selected; on a bin edge")
    score_bins: Annotated[int, Field(ge=2, le=1024)] = Field(
        64, description="bins in which scores are counted, or predicted numbers"
    )
    target_range: tuple[float, float] | None = Field(
        None,
        description="least and greatest target where targets are numbers; by default what the task declares, or in a "
        "simulation what its data has",
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(0.95, description="confidence of every interval")
    vocabularies: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="categories of every audited attribute; a simulation takes them from the task's data, and refuses "
        "others",
    )
    min_cell: Count = Field(10, description="groups and rates of fewer rows are not shown")
    references: dict[str, str] = Field(
        default_factory=dict,
        description="for audited attributes the group that the others are compared with; limits on their gaps are on "
        "those to it then",
    )
    limits: tuple[LimitSection, ...] = Field((), description="limits that the gate judges")
    gate: Literal["report", "fail", "strict"] = Field(
        "fail",
        description="what withholds the model: nothing (`report`), a FAIL (`fail`), or an INCONCLUSIVE too (`strict`)",
    )
    checkpoint: Literal["last", "within-limits"] = Field(
        "last",
        description="whose model is released: that of the `last` round, or of the most accurate evaluated round "
        "`within-limits`, where all limits on rates are PASS (the last if there is none)",
    )
    hooks: tuple[PluginReference, ...] = Field(
        (),
        description="audit hooks of your own, each `module:object`; with options as a table, such as "
        '`{ name = "my_hooks:Bound", limit = 3 }`',
    )
