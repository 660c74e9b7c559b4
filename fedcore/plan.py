"""The whole run as one frozen, hashable value, read from TOML.

Every section is a class whose fields are the plan's keys in kebab-case; `docs/plan-reference.md` is checked
against them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcore.errors import PlanError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OpenUnit = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, strict=True)]


_PARTITION = re.compile(r"iid|dirichlet:(?=[\d.]*[1-9])\d*\.?\d+(e-?\d+)?|shards:[1-9]\d*|by:.+|sizes:lognormal")


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=False)


class TaskSection(_Section):
    """What is learned, and from which data."""

    name: str = Field("digits", description="a reference task, or `module:object` of a task of one's own")
    data: str | None = Field(
        None,
        description="path handed to the task's `load_data`; in a deployment the *name* of a data set, "
        "which each client maps to a path of its own",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the task's own")


class FederationSection(_Section):
    """Who takes part, and how updates become the next model."""

    clients: Count = Field(10, description="number of clients; a deployment waits for so many before its first round")
    rounds: Count = Field(30, description="number of rounds")
    seed: int = Field(0, ge=0, description="seed of everything that is not privacy noise")
    partition: str = Field(
        "iid",
        description="how a simulation splits rows: `iid`, `dirichlet:A`, `shards:K`, `by:COLUMN`, `sizes:lognormal`",
    )
    held_out: OpenUnit = Field(0.2, description="share of the rows kept for evaluation, never trained on")
    cohort_size: Count | None = Field(None, description="clients asked in a round; all when absent")
    cohort_sampling: Literal["fixed", "poisson"] = Field(
        "fixed", description="exactly `cohort-size` clients, or each by itself with that expected number"
    )
    quorum: Count = Field(1, description="valid updates without which a round fails")
    weighting: Literal["examples", "uniform"] | None = Field(
        None,
        description="weight of a client; by default `examples`, and `uniform` under privacy",
    )
    max_examples: Count = Field(
        1_000_000,
        description="most rows by which a client's update is weighed, however many it claims; set it to what the "
        "largest client has",
    )
    max_update_norm: Positive = Field(
        1e9,
        description="an update of a larger Euclidean norm is rejected (`NORM`); the default catches what is absurd, "
        "and a few times the `update_norm` of usual rounds also what is harmful",
    )
    server_optimizer: Literal["sgd", "adam", "yogi", "adagrad"] = Field(
        "sgd", description="how the mean update is applied to the model"
    )
    server_learning_rate: Positive = Field(1.0, description="step length of the server optimizer")
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="momentum of server `sgd`")
    server_betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), description="decay of the first and second moment in server `adam` and `yogi`"
    )
    server_adaptivity: Positive = Field(1e-3, description="τ, the floor under the second moment's root")
    averaging: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="decay of the average over rounds that is evaluated and released; 0 releases the last model",
    )
    transforms: tuple[str, ...] = Field(
        (),
        description="update transforms of one's own, each `module:object`; the client halves run in this order",
    )
    round_attempts: Count = Field(3, description="how often a round without a quorum is tried before the run fails")
    round_timeout_seconds: Positive = Field(
        3600.0, description="deployment: a client that has not answered by then is late, and not counted"
    )
    patience_seconds: NonNegative = Field(
        600.0, description="deployment: how long to wait for clients to connect before a round is asked of fewer"
    )
    evaluate_every: Count = Field(1, description="rounds between evaluations; the last round is always evaluated")


class TrainingSection(_Section):
    """What a client does with a model that it receives."""

    optimizer: str = Field("SGD", description="name of a class in `torch.optim`")
    optimizer_options: dict[str, float | bool | list[float]] = Field(
        default_factory=dict, description="its further arguments, such as `momentum`"
    )
    learning_rate: Positive = Field(0.1, description="step length of the client's optimizer")
    batch_size: Count = Field(32, description="rows of a step without privacy; the last batch may be smaller")
    local_epochs: Count = Field(1, description="passes over the client's rows in a round without privacy")
    proximal_mu: NonNegative = Field(0.0, description="μ of FedProx: pull towards the received model")
    max_physical_batch: Count = Field(
        256, description="rows whose per-example gradients are held at once; changes memory, not results"
    )
    precision: Literal["float32", "float64"] = Field("float32", description="number type of the model")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:K` or `mps`")


class PrivacySection(_Section):
    """What is promised, to whom. `fedcore.privacy.plan.PrivacyPlan` is derived from it."""

    unit: Literal["none", "record", "client"] = Field(
        "none",
        description="what one privacy unit is: `record`, one row, by noise at its client; `client`, a client with all "
        "of its rows, by noise at a trusted server; `none` promises nothing",
    )
    relation: Literal["zero-out", "add-remove", "replace-one"] = Field(
        "zero-out",
        description="neighbouring data sets: a record blanked with the size public, a record more or less with the "
        "size secret, or a record replaced by another, which costs more ε",
    )
    max_records_per_person: Count | None = Field(
        None,
        description="declared cap on the records of one person at one client; the statement then gives the ε of a "
        "person beside that of a record",
    )
    epsilon: Positive | None = Field(
        None,
        description="target ε of the whole run, to which the noise is calibrated; rounds tried again come on top",
    )
    noise_multiplier: NonNegative | None = Field(
        None, description="standard deviation of the noise over the clip norm; instead of `epsilon`"
    )
    delta: OpenUnit = Field(1e-5, description="δ of the guarantee")
    clip_norm: Positive = Field(
        1.0, description="largest Euclidean norm of one record's gradient, or with unit `client` of one update"
    )
    clip_quantile: OpenUnit | None = Field(
        None,
        description="unit `client`: the share of updates that should be within the clip norm, which follows it from "
        "`clip-norm` on; fixed when absent",
    )
    participation: Literal["visible", "secret"] = Field(
        "visible",
        description="unit `client`: `secret` declares that nobody but a trusted server learns who was asked, so that "
        "a Poisson cohort amplifies; simulations only, for deployed clients are told their cohort",
    )
    sampling_rate: Share = Field(0.5, description="unit `record`: probability of each record to be in a step's batch")
    steps_per_round: Count = Field(1, description="unit `record`: steps of a client in a round")
    learning_rate: Positive | None = Field(
        None,
        description="step length of the client's optimizer under privacy, where clipped sums over a public divisor "
        "want another than plain means; `training.learning-rate` when absent",
    )
    nominal_batch: Positive | None = Field(
        None,
        description="public constant that a noisy sum is divided by; a simulation takes the sampling rate times "
        "the mean number of training rows when the size is public",
    )
    trials: Count | None = Field(
        None,
        description="declared number of runs on the same records from which this one is chosen, itself included; the "
        "statement gives the ε of all of them. 1 declares that nothing else was tried",
    )
    contact: str | None = Field(None, description="whom to ask about the privacy statement; written into it")
    noise: Literal["secure", "test"] = Field(
        "secure", description="`test` draws noise and batches from the seed: repeatable, and no guarantee"
    )
    noise_precision: Literal["float64", "float32"] = Field(
        "float64",
        description="number type in which noise is drawn; `float32` is about twice as fast, with fewer low bits",
    )


class LimitSection(_Section):
    """One limit, declared before the run."""

    metric: str = Field(description="a metric of the audit, such as `accuracy` or `selection_rate`")
    attribute: str = Field("*", description="the attribute it holds for; `*` is every one")
    kind: Literal["difference", "ratio"] = Field(
        "difference", description="largest minus smallest, or smallest over largest"
    )
    at_most: float | None = Field(None, description="largest difference allowed")
    at_least: float | None = Field(None, description="smallest ratio allowed")


class AuditSection(_Section):
    """Which groups are compared, and within which limits."""

    sensitive: tuple[str, ...] = Field((), description="attributes to audit; `a*b` crosses two")
    favourable: str | None = Field(None, description="label that counts as selected; by default the second of two")
    threshold: OpenUnit = Field(0.5, description="score from which a row counts as selected; on a bin edge")
    score_bins: Annotated[int, Field(ge=2, le=1024)] = Field(64, description="bins of the score histogram")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(0.95, description="confidence of every interval")
    vocabularies: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="categories of every audited attribute; a simulation takes them from the task's data",
    )
    min_cell: Count = Field(10, description="groups with fewer rows are not shown")
    limits: tuple[LimitSection, ...] = Field((), description="limits that the gate judges")
    hooks: tuple[str, ...] = Field((), description="audit hooks of one's own, each `module:object`")


class EngineSection(_Section):
    """How a simulation runs its clients; a deployment has none."""

    name: Literal["auto", "loop"] = Field("auto", description="`loop` trains one client after the other in each worker")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="worker processes; 0 is one for each core")


_SECTIONS: dict[str, type[_Section]] = {
    "task": TaskSection,
    "federation": FederationSection,
    "training": TrainingSection,
    "privacy": PrivacySection,
    "audit": AuditSection,
    "engine": EngineSection,
}


class RunPlan(BaseModel):
    """A whole run. Build it with `RunPlan.from_mapping` or `RunPlan.from_toml`, which tell all errors at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSection = Field(default_factory=TaskSection)
    federation: FederationSection = Field(default_factory=FederationSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    privacy: PrivacySection = Field(default_factory=PrivacySection)
    audit: AuditSection = Field(default_factory=AuditSection)
    engine: EngineSection = Field(default_factory=EngineSection)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RunPlan:
        """Validate nested mappings with kebab-case keys.

        Raises:
            PlanError: Holds every problem in every section.
        """
        problems = [_unknown(name, _SECTIONS, "section") for name in mapping if name not in _SECTIONS]
        sections: dict[str, _Section] = {}
        for name, section in _SECTIONS.items():
            try:
                sections[name] = section.model_validate(mapping.get(name, {}))
            except ValidationError as error:
                problems += [_explain(name, section, problem) for problem in error.errors()]
        problems += _contradictions(sections)
        if problems:
            raise PlanError(problems)
        return cls.model_validate(sections)

    @classmethod
    def from_toml(cls, path: Path | str) -> RunPlan:
        """Read a plan file."""
        return cls.from_mapping(read_toml(Path(path)))

    def updated(self, **sections: Mapping[str, Any]) -> RunPlan:
        """A plan with some keys of some sections replaced; checked anew."""
        mapping = self.to_mapping()
        for name, changes in sections.items():
            mapping[name] = {**mapping[name], **changes}
        return RunPlan.from_mapping(mapping)

    def to_mapping(self) -> dict[str, Any]:
        """Nested dictionaries of plain values with kebab-case keys; absent values are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_toml(self) -> str:
        """The plan as TOML, every key written out."""
        import tomli_w

        return tomli_w.dumps(self.to_mapping())

    @property
    def sha256(self) -> str:
        """Hash of what the plan says, the same for every spelling of it.

        The engine is left out: it decides how fast a run is, never what it computes.
        """
        content = {name: section for name, section in self.to_mapping().items() if name != "engine"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file as it stands.

    Raises:
        PlanError: The file is absent, not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(f"no plan at {path}; expected a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan {path} is not TOML: {error}") from error


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mappings over each other; `above` wins key by key.

    Target ε and noise multiplier are two ways to say one thing: naming one above drops the other below.
    """
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    for one, other in (("epsilon", "noise-multiplier"), ("noise-multiplier", "epsilon")):
        if one in above and other not in above:
            merged.pop(other, None)
    return merged


def _contradictions(sections: Mapping[str, _Section]) -> Iterator[str]:
    """What is wrong between keys that are each right by themselves."""
    names = ("federation", "training", "privacy", "audit")
    federation, training, privacy, audit = (sections.get(name) for name in names)
    if isinstance(training, TrainingSection):
        yield from _training_contradictions(training)
    if isinstance(federation, FederationSection):
        yield from _federation_contradictions(federation)
    if isinstance(privacy, PrivacySection):
        yield from _privacy_contradictions(privacy)
        if isinstance(federation, FederationSection):
            yield from _privacy_and_federation_contradictions(privacy, federation)
    if isinstance(audit, AuditSection):
        yield from _audit_contradictions(audit)


def _privacy_and_federation_contradictions(privacy: PrivacySection, federation: FederationSection) -> Iterator[str]:
    if privacy.unit == "record" and privacy.relation == "add-remove" and federation.weighting == "examples":
        yield "federation.weighting: examples cannot be used with relation add-remove, where their number is secret"
    if privacy.unit == "client" and federation.weighting == "examples":
        yield "federation.weighting: under unit client all weigh the same, or a client could choose its own weight"
    redrawn = privacy.relation == "add-remove" and federation.cohort_size is not None
    if privacy.unit == "client" and privacy.participation == "visible" and redrawn:
        yield (
            "privacy.relation: with one client more, add-remove would draw another cohort, which moves the sum by more "
            "than a client; ask all clients, or take zero-out"
        )
    if privacy.participation == "secret" and federation.quorum > 1:
        yield "federation.quorum: a round that fails for want of clients would tell how many were asked; leave it out"
    if privacy.participation == "secret" and (privacy.unit != "client" or federation.cohort_sampling != "poisson"):
        yield (
            "privacy.participation: secret amplifies a Poisson cohort under unit client; set cohort-sampling and "
            "cohort-size in federation, or leave it out"
        )


def _federation_contradictions(federation: FederationSection) -> Iterator[str]:
    if not _PARTITION.fullmatch(federation.partition):
        yield (
            "federation.partition: expected iid, dirichlet:A with A > 0, shards:K, by:COLUMN or sizes:lognormal, "
            f"found {federation.partition!r}"
        )
    if (federation.cohort_size or 0) > federation.clients:
        yield f"federation.cohort-size: expected at most clients = {federation.clients}, found {federation.cohort_size}"
    if federation.quorum > (federation.cohort_size or federation.clients):
        yield f"federation.quorum: expected at most the cohort, found {federation.quorum}"
    if federation.cohort_sampling == "poisson" and federation.cohort_size is None:
        yield "federation.cohort-sampling: poisson needs cohort-size, the expected number of clients"


def _privacy_contradictions(privacy: PrivacySection) -> Iterator[str]:
    if privacy.unit == "none":
        return
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        yield "privacy: expected exactly one of epsilon (a target) and noise-multiplier"
    if privacy.unit == "record" and privacy.relation == "add-remove" and privacy.nominal_batch is None:
        yield (
            "privacy.nominal-batch: needed with relation add-remove, where the number of records is secret and "
            "nothing may be derived from it"
        )


def _training_contradictions(training: TrainingSection) -> Iterator[str]:
    if "lr" in training.optimizer_options:
        yield "training.optimizer-options: lr is set by learning-rate; remove it here"


def _audit_contradictions(audit: AuditSection) -> Iterator[str]:
    yield from (problem for limit in audit.limits for problem in _limit_problems(limit))
    bins = Fraction(str(audit.threshold)) * audit.score_bins
    if bins.denominator != 1:
        yield (
            f"audit.threshold: expected a multiple of 1/{audit.score_bins} (an edge of score-bins), "
            f"found {audit.threshold}"
        )
    if audit.limits and not audit.sensitive:
        yield "audit.limits: there are limits, and no attribute in audit.sensitive that they could hold for"


def _limit_problems(limit: LimitSection) -> tuple[str, ...]:
    from fedcore.audit.estimates import MEASURES
    from fedcore.audit.settings import Limit

    if limit.metric in MEASURES:
        return (f"audit.limits: {limit.metric} is measured by fedcore audit bias, and not in a run",)
    try:
        Limit.of(
            limit.metric, attribute=limit.attribute, kind=limit.kind, at_most=limit.at_most, at_least=limit.at_least
        )
    except PlanError as error:
        return tuple(f"audit.limits: {problem}" for problem in error.problems)
    return ()


def _explain(section: str, model: type[_Section], problem: Any) -> str:
    """Turn one of pydantic's errors into: where, what was expected, what was found."""
    where, keys = section, list(problem["loc"])
    if problem["type"] == "extra_forbidden":
        nested = LimitSection if keys[0] == "limits" else model
        known = {_kebab(name): None for name in nested.model_fields}
        return _unknown(str(keys[-1]), known, f"key in [{section}]")
    for key in keys:
        where += f"[{key}]" if isinstance(key, int) else f".{key}"
    found = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
    message = problem["msg"].replace("Input should be", "expected").replace("Field required", "missing")
    return f"{where}: {message}{found}"


def _unknown(name: str, known: Mapping[str, Any], what: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown {what}: {name!r}; {hint}"
