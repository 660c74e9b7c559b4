"""The sections of a plan: every key with its default and meaning.

`docs/plan-reference.md` is written from these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fedcore.aggregation.registry import ENCODINGS, RULES
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.plan.audit_sections import AuditSection
from fedcore.plan.devices.section import DevicesSection
from fedcore.plan.host_sections import EngineSection, RunSection
from fedcore.plan.section import Count, NonNegative, OpenUnit, PluginReference, Positive, Section, Share
from fedcore.plugins import option_of
from fedcore.schedules.registry import SCHEDULES
from fedcore.server_optimizers.registry import SERVER_OPTIMIZERS
from fedcore.tasks.registry import TASKS


class TaskSection(Section):
    """The task and its data."""

    name: str = Field("digits", description=f"the task: {TASKS.choices('`')} of your own")
    data: str | None = Field(
        None,
        description="path handed to the task's `load_data`; in a deployment the *name* of a data set, "
        "which each client maps to a path of its own",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the task's own")
    start_from: str | None = Field(
        None,
        description="file of starting weights in the format of safetensors, such as a run's `model.safetensors`: the "
        "state dictionary of the task's model; random when absent. Only the simulation, or the server, reads it. Under "
        "privacy it must be public, or its own ε counts too",
    )
    start_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of that file; filled in, so that a run is not resumed from another file"
    )
    test_data: str | None = Field(
        None,
        description="path of a fixed test set, read by the task's `load_data` where the rounds are driven: the "
        "simulation, or the server. Each evaluated model is measured on it as well (`test_loss`, `test_accuracy`). It "
        "is never sent",
    )
    code: dict[str, str] | None = Field(
        None,
        description="in a deployment, what every host must have: fedcore's minor version, and the SHA-256 of each "
        "module of your own that the plan names. `fedcore run` fills it in",
    )


class FederationSection(Section):
    """Who takes part, and how updates become the next model."""

    clients: Count = Field(10, description="number of clients; a deployment waits for that many before its first round")
    rounds: Count = Field(30, description="number of rounds")
    seed: int = Field(0, ge=0, description="seed of everything that is not privacy noise")
    partition: PluginReference = Field(
        "iid",
        description="how a simulation splits rows, such as `iid`, `dirichlet:0.3` or `by:COLUMN`; "
        "the help of `fedcore simulate` lists all",
    )
    held_out: OpenUnit = Field(0.2, description="share of the rows kept for evaluation, never trained on")
    cohort_size: Count | None = Field(None, description="clients asked in a round; all when absent")
    cohort_sampling: Literal["fixed", "poisson"] = Field(
        "fixed", description="exactly `cohort-size` clients, or each by itself with that expected number"
    )
    quorum: Count = Field(1, description="valid updates without which a round fails")
    max_examples: Count = Field(
        1_000_000,
        description="largest number of rows by which a client's update is weighted, even if it reports more; set it to "
        "the largest client's number",
    )
    max_update_norm: Positive | None = Field(
        None,
        description="an update of a larger Euclidean norm is rejected (`NORM`); when absent, one that is longer than "
        "1e9, or than 100 times the usual norm: the median over clients of the norm that each sent last, counted or "
        "not, in the newest rounds and attempts that have 25 clients among them (between two, the geometric mean; "
        "without zeros). Of fewer than three such norms none is usual; the round's own first 25 are then included. "
        "Under unit `client` none is rejected: all are clipped",
    )
    max_loss_ratio: Positive = Field(
        100.0,
        description="a run pauses when its evaluated loss is not finite, or exceeds this multiple of the loss of its "
        "first evaluation or of an uninformed model, whichever is less. The latter is known for ready-made losses: "
        "the logarithm of the number of classes (for language models, of parameters), or the square of the largest "
        "target in the declared range. What was charged stays charged. Noisy losses, which are cut to a bound, are not "
        "judged",
    )
    server_optimizer: PluginReference = Field(
        "sgd",
        description=f"how the mean update moves the model: {SERVER_OPTIMIZERS.choices('`')}; with options as a "
        'table, such as `{ name = "sgd", momentum = 0.9 }`',
    )
    server_learning_rate: Positive = Field(1.0, description="step length of the server optimizer")
    averaging: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="decay of the average over rounds that is evaluated and released; 0 releases the last model",
    )
    round_attempts: Count = Field(3, description="how often a round without a quorum is tried before the run fails")
    round_timeout_seconds: Positive = Field(
        3600.0,
        description="deployment, and simulated time: a client that has not answered by then is late, and not counted",
    )
    patience_seconds: NonNegative = Field(
        600.0,
        description="deployment: how long to wait for clients to connect before a round starts with fewer; in "
        "simulated time, for a quorum of clients to be available",
    )
    evaluate_every: Count = Field(1, description="rounds between evaluations; the last round is always evaluated")
    evaluate_clients: Count | None = Field(
        None,
        description="clients that evaluate a round's model, drawn anew each time; all when absent. All evaluate the "
        "last one where something is audited. Not for what follows evaluations round by round: algorithms that learn "
        "from them, `audit.checkpoint`, and `stop-when` on held-out rows",
    )
    stop_when: str | None = Field(
        None,
        description="ends the run early: after the evaluation in which a metric reaches a bound (`accuracy>=0.95`, "
        "`loss<=0.2`), or with `patience:5` after the fifth in a row without a better loss. It looks at the held-out "
        "rows of all clients, and not at evaluations that lack a client's; or at `task.test-data` "
        "(`test_accuracy>=0.95`, `patience:5:test_loss`). Under privacy held-out rows need noise on evaluations",
    )

    @property
    def partition_column(self) -> str | None:
        """The attribute whose values are the clients; ``None`` unless rows are partitioned ``by`` one."""
        return option_of(self.partition, "by", "column") or None


class AlgorithmSection(Section):
    """What clients do besides descending their loss, and how the server moves the model."""

    name: str = Field(
        "fedavg",
        description=f"{ALGORITHMS.choices('`')}; the first option may follow a colon, as in `fedprox:0.1`",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the algorithm's options by name")

    @property
    def reference(self) -> dict[str, Any]:
        """Name and options as one plug-in reference."""
        return {**self.options, "name": self.name}


class AggregationSection(Section):
    """How updates are encoded on their way, and how they become one."""

    rule: PluginReference | None = Field(
        None,
        description=f"{RULES.choices('`')}. By default `mean`, which weighs clients by examples, and under privacy "
        "`uniform`, which weighs them equally",
    )
    encode: tuple[PluginReference, ...] = Field(
        (),
        max_length=4,
        description=f"encodings of the update, in order, each with its first option as in `top-k:0.1`: "
        f"{ENCODINGS.choices('`')}",
    )


class TrainingSection(Section):
    """What a client does with a model that it receives."""

    optimizer: str = Field("SGD", description="name of a class in `torch.optim`")
    optimizer_options: dict[str, float | bool | list[float]] = Field(
        default_factory=dict, description="its further arguments, such as `momentum`"
    )
    learning_rate: Positive = Field(0.1, description="step length of the client's optimizer")
    schedule: PluginReference | None = Field(
        None,
        description="factor of the learning rate (that of `[privacy]` too) over rounds: "
        f"{', '.join(f'`{name}`' for name in SCHEDULES.rows)}, with options as in `cosine`, `step:10:0.5` or "
        "`warmup:5:cosine`; constant when absent. docs/training.md has the formulas",
    )
    batch_size: Count = Field(32, description="rows of a step without privacy; the last batch may be smaller")
    local_epochs: Count = Field(1, description="passes over the client's rows in a round without privacy")
    max_physical_batch: Count = Field(
        256,
        description="rows whose per-example gradients are held at once; changes memory, not results, and is halved "
        "when the device has too little",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="number type of the model")
    device: str = Field(
        "auto",
        description="`cpu`, `cuda`, `cuda:K`, `mps`, or `auto`: CUDA where it works and the model is not too small",
    )


class PrivacySection(Section):
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
        "person, in addition to that of a record",
    )
    epsilon: Positive | None = Field(
        None,
        description="target ε of the whole run, to which the noise is calibrated; rounds tried again come on top",
    )
    noise_multiplier: NonNegative | None = Field(
        None, description="standard deviation of the noise over the clip norm; instead of `epsilon`"
    )
    delta: OpenUnit = Field(1e-5, description="δ of the guarantee")
    clip_norm: Annotated[float, Field(ge=1e-8, le=1e8)] = Field(
        1.0, description="largest Euclidean norm of one record's gradient, or with unit `client` of one update"
    )
    clip_quantile: OpenUnit | None = Field(
        None,
        description="unit `client`: the share of updates that should be within the clip norm, which follows it from "
        "`clip-norm` on; fixed when absent",
    )
    participation: Literal["visible", "secret"] = Field(
        "visible",
        description="unit `client`: `secret` declares that only a trusted server learns who was asked, so that "
        "a Poisson cohort amplifies; simulations only, since deployed clients see their cohort",
    )
    isolation: Literal["auto", "isolated", "probed"] = Field(
        "auto",
        description="unit `record`: how each record's gradient is kept its own. `isolated` computes it from the record "
        "alone, and refuses what cannot be run so; `probed` takes the fastest way and rests on a measurement before "
        "training; `auto` takes the fastest way where isolation is proven by loss and layers, else `isolated` where "
        "that runs, else `probed`. The statement shows which",
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
    evaluation_noise_multiplier: Positive | None = Field(
        None,
        description="unit `record`: noise on a client's results on its held-out rows, in units of what one of them "
        "moves; evaluation is exact, and charged to nothing, when absent",
    )
    evaluation_loss_bound: Annotated[float, Field(gt=0, le=1e6)] = Field(
        5.0, description="to which a held-out row's loss is cut before losses are summed under such noise"
    )
    trials: Count | None = Field(
        None,
        description="declared number of runs on the same records from which this one is chosen, itself included; the "
        "statement gives the ε of all of them. 1 declares that nothing else was tried",
    )
    contact: str | None = Field(None, description="contact for questions about the privacy statement; written into it")
    noise: Literal["secure", "test"] = Field(
        "secure", description="`test` draws noise and batches from the seed: repeatable, and no guarantee"
    )
    noise_precision: Literal["float64", "float32"] = Field(
        "float64",
        description="number type in which noise is drawn; `float32` is about twice as fast, with fewer low bits",
    )


SECTIONS: dict[str, type[Section]] = {
    "task": TaskSection,
    "federation": FederationSection,
    "algorithm": AlgorithmSection,
    "aggregation": AggregationSection,
    "training": TrainingSection,
    "privacy": PrivacySection,
    "audit": AuditSection,
    "devices": DevicesSection,
    "engine": EngineSection,
    "run": RunSection,
}
