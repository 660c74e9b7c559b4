"""A client that has joined a consortium, and the coordinator that asks it: real keys and files, no network."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
import torch
from flwr.app import RecordDict

from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.storage.events import EventLog
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore.trust.roster import Roster
from fedcore.wire.envelope import Envelope, open_envelope, unsealed
from fedcore.wire.requests import pack_request
from fedcore_clients.agent.guard import Guard
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.agent.join import join
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.entry import Entry
from fedcore_clients.policy.settings import Policy
from fedcore_server.consortium.home import ConsortiumHome
from fedcore_server.consortium.members import admit, init, invite
from fedcore_server.flower.correspondence import Correspondence
from tests.builders import build_layout
from tests.clients.policy.builders import build_plan, build_policy
from tests.trust.builders import welcome

NAMES = ("north", "south", "west")
SIZE = 5


class Site:
    """Client ``north`` with its home, and the consortium that it is a member of.

    Attributes:
        plan: What requests ask for when a test names no other.
    """

    def __init__(self, root: Path, policy: Policy | None = None) -> None:
        self.policy = policy or build_policy()
        self.consortium = ConsortiumHome(root / "federation")
        init(self.consortium.path, "heart", "localhost:9092")
        invite(self.consortium.path, "north", out=root / "invite.json")
        admit(self.consortium.path, join(root / "invite.json", root / "north"))
        for name in NAMES[1:]:
            welcome(self.consortium.path, name)
        self.home = ClientHome(root / "north")
        self.home.policy.write_text(tomli_w.dumps(self.policy.to_mapping()))
        self.coordinator = self.consortium.coordinator()
        self.plan = build_plan()
        self._logs = itertools.count()
        self._root = root

    def guard(self) -> Guard:
        policy = Policy.from_toml(self.home.policy)
        return Guard(self.home, policy, lambda: datetime.now(UTC), data=self.data())

    def data(self) -> dict[str, Path]:
        """A file for each data set that the policy allows."""
        found = {name: self._root / "data" / name for name in self.policy.data.allowed}
        for path in found.values():
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return found

    def roster(self) -> Roster:
        return self.consortium.roster()

    def correspondence(
        self,
        *,
        identity: Identity | None = None,
        run: str = "run",
        incarnation: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> Correspondence:
        events = EventLog(self._root / f"run-{next(self._logs)}.jsonl")
        return Correspondence(
            identity or self.coordinator, self.roster, run=run, incarnation=incarnation, events=events, clock=clock
        )

    def request(
        self,
        *,
        kind: str = "train",
        to: str = "north",
        round: int = 1,
        attempt: int = 0,
        cohort: tuple[str, ...] = NAMES,
        plan: RunPlan | None = None,
        values: Any = None,
        roster: str | None = None,
        whole_roster: bool = True,
        correspondence: Correspondence | None = None,
        header: Mapping[str, Any] | None = None,
        signed_kind: str | None = None,
    ) -> RecordDict:
        """A request as the coordinator would send it; each part may be another.

        Args:
            values: The model; zeros when absent.
            header: Laid over the request's plain values before they are signed.
            signed_kind: Kind in the envelope; that of the request when absent.
        """
        buffer = torch.as_tensor([0.0] * SIZE if values is None else values)
        parameters = Parameters(buffer, build_layout(len(buffer)))
        asked: TrainRequest | EvaluateRequest
        if kind == "train":
            asked = TrainRequest(round=round, attempt=attempt, cohort=cohort, parameters=parameters)
        else:
            asked = EvaluateRequest(round=round, attempt=attempt, cohort=cohort, parameters=parameters)
        signed = self.roster().signed(self.coordinator) if roster is None else roster
        content = pack_request(asked, plan or self.plan, roster=signed, whole_roster=whole_roster)
        content["fedcore"].update(header or {})
        return (correspondence or self.correspondence()).write(
            content, to=to, kind=signed_kind or kind, round=round, attempt=attempt
        )[0]

    def read(self, reply: RecordDict) -> tuple[Envelope, RecordDict]:
        """What the coordinator sees of an answer, its signature checked."""
        return open_envelope(reply, self.home.identity().public, destination=COORDINATOR), unsealed(reply)

    def charges(self) -> list[Entry]:
        """What the ledger counts as told, oldest first."""
        ledger = Ledger(self.home.ledger, lambda: datetime.now(UTC))
        return ledger.uses() if ledger.file.exists() else []
