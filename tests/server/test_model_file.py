"""Models whose state dictionary has several names for one tensor: trained once, saved once, loaded whole."""

import json

import pytest
import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

from fedcore import Examples, LanguageModelling
from fedcore.errors import LayoutError, TaskError
from fedcore.parameters import Parameters
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.model_file import serialised
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.builders import Stopping, TinyTask, build_plan
from tests.server.served import Served, tiny_plan

TOKENS = 11


class TiedHead(nn.Module):
    """As GPT-2 is: the output layer has the embedding's weights."""

    def __init__(self):
        super().__init__()
        self.wte, self.h = nn.Embedding(TOKENS, 6), nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, TOKENS, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        return self.lm_head(torch.tanh(self.h(self.wte(tokens))))


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(TOKENS, 6), layer(6, 5, batch_first=True)
        self.head = nn.Linear(5, TOKENS)

    def forward(self, tokens):
        return self.head(self.recurrent(self.embedding(tokens))[0])


class Text(LanguageModelling):
    name = "text"

    def __init__(self, model=TiedHead):
        self.model = model

    def build_model(self):
        return self.model()

    def load_data(self, path):
        tokens = torch.randint(0, TOKENS, (40, 6), generator=torch.Generator().manual_seed(0))
        return Examples(columns={"inputs": tokens[:, :-1].clone(), "targets": tokens[:, 1:].clone()})


MODELS = {
    "tied head": TiedHead,
    "DPLSTM": lambda: Recurrent(DPLSTM),
    "DPGRU": lambda: Recurrent(DPGRU),
    "DPRNN": lambda: Recurrent(DPRNN),
}
ALIASES = {
    "tied head": {"lm_head.weight": "wte.weight"},
    "DPLSTM": {
        f"recurrent.l0.{gate}.{kind}": f"recurrent.{kind}_{gate}_l0"
        for gate in ("ih", "hh")
        for kind in ("weight", "bias")
    },
}
PRIVACY = {"unit": "record", "noise_multiplier": 1.0, "noise": "test"}


@pytest.mark.parametrize("privacy", [{}, PRIVACY], ids=["none", "record"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_with_shared_tensors_is_saved_and_loaded_into_a_fresh_one(tmp_path, kind, privacy):
    result = simulate(Text(MODELS[kind]), build_plan(privacy=privacy), out=tmp_path / "run")
    fresh = MODELS[kind]()
    load_model(fresh, tmp_path / "run" / "model.safetensors")
    trained = result.model.state_dict()
    assert trained.keys() == fresh.state_dict().keys()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, trained[name]), name


@pytest.mark.parametrize("kind", ALIASES)
def test_each_tensor_is_in_the_file_once_and_its_other_names_are_in_the_metadata(tmp_path, kind):
    model = MODELS[kind]()
    (tmp_path / "model").write_bytes(serialised(model))
    with safe_open(tmp_path / "model", framework="pt") as file:
        aliases, names = file.metadata(), set(file.keys())
    assert aliases == ALIASES[kind]
    assert names == {name for name, _ in model.named_parameters()}
    kept = load_file(tmp_path / "model")
    restored = kept | {alias: kept[name] for alias, name in aliases.items()}
    assert restored.keys() == model.state_dict().keys()


def test_a_tied_tensor_is_trained_once_and_has_one_place_in_the_update():
    plan = build_plan(
        federation={"clients": 1, "rounds": 1},
        training={"batch_size": 1000, "precision": "float64", "learning_rate": 0.5},
    )
    task = Text()
    first = simulate(task, plan.updated(training={"learning-rate": 1e-300})).model  # what the seed makes
    trained = simulate(task, plan).model.state_dict()
    data = task.load_data(None)
    assert Parameters.from_model(first).layout.size == TOKENS * 6 + 6 * 6 + 6

    expected = TiedHead().double()
    expected.load_state_dict(first.state_dict())
    rows = simulated_training_rows(plan, task)
    batch = {name: column[rows] for name, column in data.columns.items()}
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.5)
    task.loss(expected, batch).mean().backward()
    optimizer.step()
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(tensor, trained[name], atol=1e-12), name


def simulated_training_rows(plan, task):
    from fedcore.data.held_out import choose_held_out

    return ~choose_held_out(task.load_data(None), plan, plan.federation.seed)


def test_a_run_with_shared_tensors_that_was_stopped_ends_as_if_it_was_not(tmp_path):
    plan = build_plan(task={"name": "tests.server.test_model_file:Text"})
    undisturbed = simulate(None, plan)

    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan, out=tmp_path / "run", listeners=[Stopping()])
    resumed = resume(tmp_path / "run")
    assert resumed.summary["model_sha256"] == undisturbed.summary["model_sha256"]


class TiedLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.head(torch.tanh(self.second(self.first(inputs))))


def test_deployed_clients_train_a_model_with_shared_tensors_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(TinyTask, "build_model", lambda _: TiedLayers())
    served = Served(tmp_path, tiny_plan(rounds=2))
    assert served.drive() == 0
    fresh = TiedLayers()
    load_model(fresh, served.directory / "model.safetensors")
    assert json.loads((served.directory / "summary.json").read_text())["rounds"] == 2
    assert torch.equal(fresh.first.weight, fresh.second.weight)


class Unsavable(nn.Linear):
    """Keeps text in its state dictionary."""

    def __init__(self):
        super().__init__(4, 2)

    def get_extra_state(self):
        return {"words": "hello"}

    def set_extra_state(self, state):
        return


def test_a_model_that_cannot_be_saved_is_refused_before_it_is_trained(tmp_path, monkeypatch):
    with pytest.raises(TaskError, match="the model cannot be saved"):
        simulate(TinyTask(model=Unsavable), build_plan(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(TinyTask, "build_model", lambda _: Unsavable())
    with pytest.raises(TaskError, match="the model cannot be saved"):
        deployable(tiny_plan())


class Twins(nn.Module):
    """Two parameters over the same memory, which is not how weights are tied."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)
        self.decoder.weight = nn.Parameter(self.encoder.weight.t())

    def forward(self, inputs):
        return self.decoder(self.encoder(inputs))


def test_two_parameters_over_the_same_memory_are_refused_by_name():
    with pytest.raises(LayoutError, match=r"'decoder\.weight' and 'encoder\.weight' share memory"):
        Parameters.from_model(Twins())
