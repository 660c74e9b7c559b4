"""Who was counted in a round, and who was not."""

from __future__ import annotations

from torch import Tensor

from fedcore.messages import LedgerReceipt, TrainRequest
from fedcore.method.exchange import Exchange, vector_of
from fedcore.metrics import Metrics
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.storage.large_vectors import norm
from fedcore_server.aggregation.private_mean import clip_norm_of
from fedcore_server.rounds.gate import Opened
from fedcore_server.rounds.state import Rejection, RoundReport, ServerState


class Tally:
    """Notes the replies of a round as they are counted or rejected."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.rejected: list[Rejection] = []
        self._metrics = Metrics()
        self._sizes: dict[str, int] = {}
        self._receipts: dict[str, LedgerReceipt] = {}

    def note(self, reply: Opened | Rejection) -> None:
        if isinstance(reply, Rejection):
            self.rejected.append(reply)
            return
        block = reply.block
        self.counted += block.clients
        self._metrics = block.metrics.added_to(self._metrics)
        sizes = zip(block.clients, block.num_examples, strict=True)
        self._sizes |= {client: size for client, size in sizes if size is not None}
        self._receipts |= block.receipts

    def released(self, request: TrainRequest) -> bool:
        unread = {each.client for each in self.rejected if not each.read_data}
        return bool(self.counted) or not set(request.cohort) <= unread

    def report(
        self, request: TrainRequest, plan: RunPlan, state: ServerState, *, committed: bool, mean: Tensor
    ) -> RoundReport:
        """Under client-level privacy the report holds only what the noise covers."""
        privacy = CentralPrivacy.from_run_plan(plan)
        shown = privacy is None or privacy.sampling_rate == 1.0  # a cohort that amplifies must not be shown
        exchange, vector = Exchange.of(plan), vector_of(request.parameters.buffer)
        return RoundReport(
            round=request.round,
            attempt=request.attempt,
            asked=request.cohort if shown else (),
            counted=tuple(self.counted) if shown else (),
            rejected=tuple(self.rejected) if shown else (),
            committed=committed,
            training={} if privacy else self._metrics.means(),
            update_norm=norm(mean),
            num_examples={} if privacy else self._sizes,
            clip_norm=clip_norm_of(privacy, state.part("aggregation")) if privacy else None,
            receipts={} if privacy else self._receipts,
            bytes_sent=exchange.request_form(vector).num_bytes * len(request.cohort) if shown else 0,
            bytes_received=exchange.codec(vector).form.num_bytes * len(self.counted) if shown else 0,
        )
