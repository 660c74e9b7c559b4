"""The sections of a policy: every key with its default and meaning, from which the template is written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fedcore.aggregation.registry import ENCODINGS
from fedcore.algorithms.registry import ALLOWED, WEIGH_ROWS
from fedcore.text.toml_problems import kebab

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
OpenUnit = Annotated[float, Field(gt=0, lt=1, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
DATA_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
DataName = Annotated[str, StringConstraints(pattern=DATA_NAME)]
TaskName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class PolicySection(BaseModel):
    """A table of the policy file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=False)


class TasksSection(PolicySection):
    """Which tasks may be trained here. What is not listed is refused with the code TASK."""

    allowed: tuple[TaskName, ...] = Field(
        (),
        description='tasks exactly as plans name them, such as ["digits", "my_task:task"]; code is never sent, so '
        "each must be installed here",
    )
    options: dict[TaskName, tuple[str, ...]] = Field(
        default_factory=dict,
        description="for each task, the names under task.options that a plan may set, such as "
        '{ tabular = ["schema", "hidden"] }',
    )
    schemas: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = Field(
        (),
        description="SHA-256 of the table schemas that you have read, as `fedcore client policy --schema FILE` writes "
        "them; a plan with another schema waits for your approval (code APPROVAL), since a schema that others choose "
        "asks the table questions",
    )


class DataSection(PolicySection):
    """Which data sets may be used, and for what. What is not listed is refused with the code DATA."""

    allowed: dict[DataName, tuple[TaskName, ...]] = Field(
        default_factory=dict,
        description='for each data set, the tasks that may use it, such as { wards = ["digits"] }; a plan names a '
        "data set in task.data, never a path, and one that names none uses the data set called like its task",
    )


class TrainingSection(PolicySection):
    """What a plan may ask for: [lowest, highest], both allowed. Anything else is refused (RANGE), never adjusted.

    The device is not the plan's to choose: the client computes where `fedcore client start --device` says.
    """

    rounds: tuple[Count, Count] = Field((1, 500), description="rounds of a whole run (code ROUNDS)")
    local_epochs: tuple[Count, Count] = Field((1, 20), description="passes over the rows in a round without privacy")
    batch_size: tuple[Count, Count] = Field(
        (8, 4096), description="rows of a step without privacy; the update of a tiny batch reveals its rows"
    )
    steps_per_round: tuple[Count, Count] = Field((1, 1000), description="steps of a round under privacy")
    learning_rate: tuple[Positive, Positive] = Field(
        (1e-6, 10.0), description="step length, that of privacy.learning-rate too"
    )
    max_physical_batch: tuple[Count, Count] = Field(
        (1, 4096), description="rows whose gradients are held in memory at once"
    )
    held_out: tuple[OpenUnit, OpenUnit] = Field(
        (0.2, 0.2),
        description="share of the rows kept for evaluation; one value is safest, since two evaluations whose rows "
        "differ by one reveal that row",
    )
    optimizers: tuple[str, ...] = Field(("SGD", "Adam", "AdamW"), description="classes of torch.optim")
    optimizer_options: tuple[str, ...] = Field(
        ("momentum", "nesterov", "weight_decay", "betas", "eps"),
        description="names under training.optimizer-options that a plan may set",
    )
    algorithms: tuple[str, ...] = Field(
        tuple(ALLOWED),
        description="algorithms that a plan may name, also `module:object` installed here (code ALGORITHM). "
        f"{' and '.join(f'`{name}`' for name in WEIGH_ROWS)} weigh rows: a group and label may then count 100 times "
        "as much as another, so that without differential privacy an update can give few rows away",
    )
    encodings: tuple[str, ...] = Field(
        tuple(ENCODINGS.rows),
        description="encodings that a plan may name, also `module:object` installed here (code ALGORITHM)",
    )
    memory: Switch = Field(
        False,
        description="let algorithms and encodings keep vectors of the model's size here between rounds, such as "
        "`scaffold` and `top-k` do (code MEMORY); they never leave",
    )


class CohortSection(PolicySection):
    """With whom this client may be asked (code COHORT)."""

    minimum: Count = Field(
        2,
        description="members of a request's cohort, this client included; all must be on the roster that the "
        "coordinator signs. It sees each update by itself, and could put clients of its own on the roster: only "
        "differential privacy protects from it",
    )


class BudgetSection(PolicySection):
    """The most that all runs together may spend on one data set (code BUDGET), computed by this client."""

    epsilon: Positive = Field(
        20.0, description="ε of all releases from one data set together, over all runs, for neighbours by zero-out"
    )
    delta: OpenUnit = Field(1e-5, description="δ at which that ε holds")


class PrivacySection(PolicySection):
    """The floor of differential privacy (code PRIVACY). ε is computed here."""

    required: Switch = Field(True, description="refuse plans that promise no privacy")
    units: tuple[Literal["record"], ...] = Field(("record",), description="units of privacy that a plan may promise")
    relations: tuple[Literal["zero-out", "add-remove", "replace-one"], ...] = Field(
        ("zero-out",),
        description="neighbouring relations that a plan may promise, of zero-out, add-remove and replace-one; under "
        "add-remove alone the number of rows is not released, but rounding can give a record away to a server that "
        "chooses the weights for it",
    )
    isolation: tuple[Literal["auto", "isolated", "probed"], ...] = Field(
        ("auto", "isolated"),
        description='values of `privacy.isolation` that a plan may have; ["isolated"] refuses what rests on a '
        'measurement before training, and "probed" allows that where more could be had',
    )
    max_epsilon: Positive = Field(
        10.0, description="largest ε of one run, at the plan's δ; rounds that are tried again count"
    )
    max_delta: OpenUnit = Field(1e-5, description="largest δ of a plan; keep it well below one over the number of rows")
    min_noise_multiplier: Positive = Field(0.5, description="least noise of a step, over the clip norm")
    min_evaluation_noise_multiplier: Positive | None = Field(
        None,
        description="least noise on releases about held-out rows; such evaluations are charged to the ledger. Without "
        "this key exact ones are released too, and not charged",
    )
    min_clip_norm: Positive = Field(1e-6, description="smallest norm to which one record's gradient is clipped")
    max_clip_norm: Positive = Field(10.0, description="largest norm to which one record's gradient is clipped")
    max_sampling_rate: Share = Field(1.0, description="largest probability of a record to be in a step's batch")
    allow_test_noise: Switch = Field(
        False,
        description="accept noise drawn from the plan's seed, which the server knows: it protects nothing, is charged "
        "as no privacy at all, and needs required = false",
    )
    budget: BudgetSection = Field(
        default_factory=BudgetSection, description="the most that all runs together may spend on one data set"
    )


class ReleaseSection(PolicySection):
    """What may leave besides a protected update. Sums and counts leave without noise (codes METRICS, MIN_COUNT)."""

    evaluation: tuple[str, ...] = Field(
        (),
        description='metrics of an evaluation, such as ["loss", "accuracy"]; without any, no request to evaluate is '
        "answered",
    )
    training: tuple[str, ...] = Field((), description="metrics of training without privacy; under privacy none leave")
    group_tables: tuple[str, ...] = Field(
        (),
        description='attributes whose counts by group may leave, as plans name them, such as ["sex", "sex*age"]; the '
        "server sees every cell, small ones too",
    )
    error_sums: tuple[str, ...] = Field(
        (),
        description="the same where targets are numbers: attributes by whose groups sums of powers of targets and "
        "errors may leave; of a group of up to four rows they reveal each row's target",
    )
    max_score_bins: Annotated[int, Field(ge=2, le=1024, strict=True)] = Field(
        64,
        description="most bins of scores, or of predicted numbers; the finer, the more they reveal about single rows",
    )
    ledger_receipts: Switch = Field(
        False,
        description="release with each update the number and a digest of its charge in the ledger, for the privacy "
        "statement; the number shows how many entries the ledger has",
    )
    min_examples: Count = Field(
        20,
        description="rows below which nothing is trained, evaluated or released; not applied to training rows where a "
        "plan makes their number a secret (add-remove), since a refusal would show it",
    )
    max_update_norm: Positive | None = Field(
        None, description="largest Euclidean norm of the vector `update` of a reply (code NORM)", examples=[100.0]
    )


class LimitsSection(PolicySection):
    """What a request may cost."""

    model_megabytes: Positive = Field(
        2048.0,
        description="largest request (the model, and what an algorithm shares beside it) in megabytes of 1,000,000 "
        "bytes, refused by its declared size (code SIZE)",
    )
    seconds_per_task: Count = Field(3600, description="seconds after which training or evaluating is ended")
    requests_per_day: Count | None = Field(
        None,
        description="requests accepted in a day of UTC (code LIMIT); by default twice what the plan asks for in all, "
        "and 2000 at least",
        examples=[2000],
    )


class ApprovalSection(PolicySection):
    """Whether you approve each plan by hand (code APPROVAL); see `fedcore client approve`."""

    required: Switch = Field(False, description="refuse every plan that you have not approved")
    valid_days: Annotated[int, Field(ge=1, le=3650, strict=True)] = Field(
        30, description="days after which an approval ends"
    )
