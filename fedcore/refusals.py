"""Why a client refuses a request: one code leaves the client, the reason stays in its own log."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from fedcore.errors import RefusedError


class Refusal(StrEnum):
    """A code, its meaning, and whether it is final: the same however often the client is asked.

    Calling a code with the reason makes the error to raise.
    """

    meaning: str
    final: bool

    def __new__(cls, code: str, meaning: str, final: bool = False) -> Self:
        self = str.__new__(cls, code)
        self._value_, self.meaning, self.final = code, meaning, final
        return self

    def __call__(self, reason: str) -> RefusedError:
        return RefusedError(self, reason)

    TASK = "TASK", "the policy does not list the task, an option of it or its table schema", True
    DATA = "DATA", "the policy does not list the data set for the task, or the task cannot read the data", True
    CODE = "CODE", "the task's file, or fedcore, is not the one that the plan is for", True
    ROUNDS = "ROUNDS", "the number of rounds is outside the range of `training`", True
    RANGE = "RANGE", "a number is outside a range of `training`, or an optimizer is not listed", True
    ALGORITHM = "ALGORITHM", "`training` does not list the algorithm or an encoding", True
    MEMORY = (
        "MEMORY",
        "an algorithm or encoding keeps vectors here between rounds, which `training` does not allow",
        True,
    )
    COHORT = "COHORT", "the cohort is too small, or names a client that is not on the roster"
    PRIVACY = "PRIVACY", "the plan promises too little privacy, or its model or loss would break the promise", True
    BUDGET = "BUDGET", "the budget has no room for the run, or the run is not what it was reserved as", True
    LEDGER = "LEDGER", "the ledger is damaged, gone or old, or another home accounts for this data set", True
    METRICS = "METRICS", "`release` does not list an evaluation, a group table or scores so fine", True
    MIN_COUNT = "MIN_COUNT", "the client has fewer rows than `release` asks for", True
    SIZE = "SIZE", "the model is larger than `limits` allows", True
    LIMIT = "LIMIT", "`limits` allows no more requests today"
    APPROVAL = "APPROVAL", "the owner has not approved this plan or its table schema, or no longer does", True
    ROSTER = "ROSTER", "the roster is older than one seen before, or does not hold this client with its key"
    STALE = "STALE", "this request, or a newer one, was accepted before"
    EXPIRED = "EXPIRED", "the request was held back longer than `federation.round-timeout-seconds` and five minutes"
    KIND = "KIND", "the request is neither to train nor to evaluate"
    SCHEMA = "SCHEMA", "the message is malformed"
    LAYOUT = "LAYOUT", "the model or the update does not have the declared size and number type"
    ARRAY = "ARRAY", "the model is not the one that was signed"
    MODEL = "MODEL", "the model does not have the declared size, or is not finite"
    PLAN = "PLAN", "the plan cannot be read here, or names something unknown"
    NONFINITE = "NONFINITE", "the update is not finite"
    NORM = "NORM", "the update is larger than `release` allows"
    TIME_LIMIT = "TIME_LIMIT", "it took longer than `limits` allows"
    DISK = "DISK", "there is no room for the model and its update"
    DEVICE = "DEVICE", "the device of `--device` is absent, fails, or has too little memory"
    CRASHED = "CRASHED", "the training process was killed, often for memory"
    FAILED = "FAILED", "the training met an error that is not fedcore's"


FINAL = frozenset(code for code in Refusal if code.final)
