"""Engines are found by name, and refuse what they cannot run exactly."""

import sys

import pytest

from fedcore.errors import PlanError, TaskError
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan

OWN = """
from fedcore_simulations.engines.loop import LoopEngine

class Picky(LoopEngine):
    name = "picky"

    def __init__(self, task, plan, clients, *, num_workers, device, memory=None, most=2):
        super().__init__(task, plan, clients, num_workers=num_workers, device=device, memory=memory)
        self.most = most

    def refusal(self):
        return f"it runs {self.most} clients at most" if len(self._clients) > self.most else None

class Nothing:
    def __init__(self, task, plan, clients, *, num_workers, device, memory=None):
        pass
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own_engine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own_engine", None)


def plan_with(engine):
    return build_plan(federation={"clients": 4, "rounds": 1}, engine={"name": engine})


def test_an_engine_of_ones_own_trains_the_run():
    result = simulate(TinyTask(), plan_with({"name": "own_engine:Picky", "most": 4}))
    assert result.summary["engine"] == "picky"
    assert result.summary["model_sha256"] == simulate(TinyTask(), plan_with("loop")).summary["model_sha256"]


def test_an_engine_that_cannot_run_a_plan_is_refused_with_its_reason_and_nothing_is_written(tmp_path):
    with pytest.raises(PlanError, match="engine 'own_engine:Picky' cannot run this plan: it runs 2 clients at most"):
        simulate(TinyTask(), plan_with("own_engine:Picky"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_engine_and_one_without_its_parts_are_refused():
    with pytest.raises(PlanError, match="unknown engine: 'lop'; did you mean 'loop'"):
        simulate(TinyTask(), plan_with("lop"))
    with pytest.raises(TaskError, match="engine 'own_engine:Nothing' lacks refusal, available"):
        simulate(TinyTask(), plan_with("own_engine:Nothing"))
