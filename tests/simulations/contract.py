"""What every engine must do; subclass it for an engine of your own."""

from __future__ import annotations

import torch

from fedcore.messages import EvaluateRequest
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_local, build_plan, build_private_plan


class EngineContract:
    """Set `make_engine`; the reference is `train_locally` called client by client."""

    def make_engine(self, task, plan, clients):
        raise NotImplementedError

    def ready(self, plan):
        ready = prepare(TinyTask(), plan)
        return ready, init_state(ready.task, ready.plan)

    def test_it_knows_every_client(self):
        ready, _ = self.ready(build_plan())
        with self.make_engine(ready.task, ready.plan, ready.clients) as engine:
            assert sorted(engine.available()) == [client.name for client in ready.clients]

    def test_its_updates_equal_those_of_local_training(self):
        for plan in (build_plan(training={"precision": "float64"}), build_private_plan()):
            ready, state = self.ready(plan)
            with self.make_engine(ready.task, ready.plan, ready.clients) as engine:
                request = plan_round(state, ready.plan, engine.available())
                updates = {u.client: u.values["update"].clone() for u in engine.train(request)}
            local = build_local(ready.plan)
            for client in ready.clients:
                expected = train_locally(local, client.to(dtype=local.dtype, device=local.device), request)
                assert torch.equal(updates[client.name], expected.values["update"])

    def test_its_reports_equal_those_of_local_evaluation(self):
        ready, state = self.ready(build_plan(audit={"sensitive": ["sex"]}))
        request = EvaluateRequest(round=0, cohort=("client-1", "client-3"), parameters=state.parameters)
        with self.make_engine(ready.task, ready.plan, ready.clients) as engine:
            reports = list(engine.evaluate(request))
        local = build_local(ready.plan)
        assert reports == [evaluate_locally(local, ready.clients[index], request) for index in (1, 3)]

    def test_it_trains_only_the_cohort(self):
        ready, state = self.ready(build_plan(federation={"cohort_size": 2}))
        with self.make_engine(ready.task, ready.plan, ready.clients) as engine:
            request = plan_round(state, ready.plan, engine.available())
            assert tuple(update.client for update in engine.train(request)) == request.cohort
