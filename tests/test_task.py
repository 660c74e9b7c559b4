"""Tasks: the contract of the families, and what is said to a task that breaks it."""

import pytest
import torch
from torch import nn

from fedcore import Attribute, Classification, Examples, LanguageModelling, Reconstruction, Regression
from fedcore.errors import DataError, TaskError
from fedcore.metrics import Metrics
from fedcore.task import TaskExtras, check_task, extras_of, load_examples
from fedcore.tasks.digits import STROKES, Digits
from fedcore.tasks.synthetic import Synthetic
from fedcore.testing.task import TaskContract
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan, build_private_plan


class Line(Regression):
    name = "line"

    def build_model(self):
        return nn.Linear(3, 1)

    def load_data(self, path):
        inputs = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        return Examples(columns={"inputs": inputs, "targets": inputs @ torch.tensor([1.0, -2.0, 0.5])})


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)

    def forward(self, tokens):
        return self.head(self.embed(tokens))


class Counting(LanguageModelling):
    """The next token is the last plus one."""

    name = "counting"

    def build_model(self):
        return Tokens()

    def load_data(self, path):
        text = (torch.arange(9) + torch.randint(0, 7, (80, 1), generator=torch.Generator().manual_seed(0))) % 7
        return Examples(columns={"inputs": text[:, :-1], "targets": text[:, 1:]})


class Squeeze(Reconstruction):
    name = "squeeze"

    def build_model(self):
        return nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6))

    def load_data(self, path):
        generator = torch.Generator().manual_seed(0)
        return Examples(columns={"inputs": torch.randn(90, 2, generator=generator) @ torch.ones(2, 6)})


class TestClassification(TaskContract):
    make_task = TinyTask


class TestRegression(TaskContract):
    make_task = Line


class TestLanguageModelling(TaskContract):
    make_task = Counting


class TestReconstruction(TaskContract):
    make_task = Squeeze


class TestDigits(TaskContract):
    make_task = Digits


@pytest.mark.parametrize("task", [Line(), Counting(), Squeeze()])
@pytest.mark.parametrize("private", [False, True])
def test_every_family_learns_in_a_federation_with_and_without_privacy(task, private):
    settings = {"federation": {"clients": 3, "rounds": 30}, "training": {"learning_rate": 0.3}}
    if private:
        plan = build_private_plan(
            **settings, privacy={"noise_multiplier": 0.1, "sampling_rate": 1.0, "nominal_batch": 25.0}
        )
    else:
        plan = build_plan(**settings)
    result = simulate(task, plan)
    first, last = result.rounds[0]["evaluation"]["loss"], result.metrics["loss"]
    assert last < 0.8 * first


def test_a_map_style_dataset_is_accepted():
    class Pairs(TinyTask):
        def load_data(self, path):
            data = super().load_data(path)
            return torch.utils.data.TensorDataset(data.columns["inputs"], data.columns["targets"])

    examples = load_examples(Pairs(), None)
    assert set(examples.columns) == {"inputs", "targets"}
    assert simulate(Pairs(), build_plan()).metrics["accuracy"] > 0.5


def test_a_dataset_of_dictionaries_may_carry_attributes():
    rows = [
        {"inputs": torch.zeros(2), "targets": 1, "ward": "a"},
        {"inputs": torch.ones(2), "targets": 0, "ward": None},
    ]
    examples = Examples.from_dataset(rows, vocabularies={"ward": ["a", "b"]})
    assert examples.attributes["ward"].vocabulary == ("a", "b", "unknown")
    assert examples.attributes["ward"].codes.tolist() == [0, 2]


def test_a_value_outside_the_declared_vocabulary_is_refused_and_the_value_not_told():
    with pytest.raises(
        DataError, match="row 1 outside its declared vocabulary; expected one of a, b, unknown"
    ) as caught:
        Attribute.from_values(["a", "secret"], vocabulary=["a", "b"], name="ward")
    assert "secret" not in str(caught.value)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="inputs has 3, targets has 2"):
        Examples(columns={"inputs": torch.zeros(3), "targets": torch.zeros(2)})


def test_selecting_rows_keeps_columns_and_attributes_together():
    data = TinyTask().load_data(None)
    rows = torch.tensor([5, 3])
    part = data.select(rows)
    assert torch.equal(part.columns["targets"], data.columns["targets"][rows])
    assert torch.equal(part.attributes["sex"].codes, data.attributes["sex"].codes[rows])


class BadPrediction(TinyTask):
    """Logits in place of probabilities."""

    def predict(self, model, batch):
        return model(batch["inputs"])


class BadShape(TinyTask):
    def predict(self, model, batch):
        return model(batch["inputs"])[:, :1]


class NoGradient(TinyTask):
    def loss(self, model, batch):
        return torch.zeros(len(batch["inputs"]))


class BadTargets(TinyTask):
    labels = ("only", "two", "and three")

    def load_data(self, path):
        data = super().load_data(path)
        return Examples(columns={**data.columns, "targets": data.columns["targets"] + 7})


class NoTargets(TinyTask):
    def load_data(self, path):
        return Examples(columns={"inputs": super().load_data(path).columns["inputs"]})


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (BadPrediction(), TaskError, "probabilities that sum to one"),
        (BadShape(), TaskError, r"predict must return shape \(4, 2\); found shape \(4, 1\)"),
        (NoGradient(), TaskError, "without a gradient"),
        (BadTargets(), DataError, "integers from 0 to 2, one for each label; found others in 120 of 120 rows"),
        (NoTargets(), TaskError, "needs a column 'targets'"),
    ],
)
def test_a_task_that_breaks_its_contract_is_told_which_part(task, error, message):
    with pytest.raises(error, match=message):
        check_task(task, task.build_model(), load_examples(task, None))


def recast(family, change):
    """A task of a family, whose targets are changed."""

    class Recast(family):
        name, labels = "recast", ("a", "b") if family is Classification else ()

        def build_model(self):
            return nn.Linear(3, 2) if family is Classification else nn.Embedding(2, 2)

        def load_data(self, path):
            targets = torch.tensor([0, 1, 0, 1])
            inputs = torch.zeros(4, 3) if family is Classification else torch.tensor([[0, 1]] * 4)
            return Examples(columns={"inputs": inputs, "targets": change(targets)})

    return Recast()


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (Classification, lambda codes: codes.int(), r"must be int64, and are int32; use \.long\(\) in load_data"),
        (LanguageModelling, lambda codes: codes[:, None].repeat(1, 2).int(), "must be int64, and are int32"),
        (Classification, lambda codes: codes[:, None], r"one code for each row, shape \(n,\); found shape \(4, 1\)"),
        (Classification, lambda codes: codes.double(), r"integers from 0 to 1, one for each label; use \.long\(\)"),
    ],
)
def test_targets_of_another_type_are_refused_in_our_words(family, change, message):
    task = recast(family, change)
    with pytest.raises(TaskError, match=message):
        check_task(task, task.build_model(), load_examples(task, None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: {"columns": {**rows.columns, "inputs": rows.columns["inputs"].numpy()}}, "is of type ndarray"),
        (lambda rows: {"columns": {**rows.columns, "targets": torch.tensor(1)}}, "is a single number"),
        (lambda rows: {"columns": rows.columns, "attributes": {"sex": ["male"] * 120}}, "Attribute.from_values"),
    ],
)
def test_what_is_no_column_of_tensors_is_refused_in_our_words(change, message):
    with pytest.raises(DataError, match=message):
        Examples(**change(TinyTask().load_data(None)))


class Doubles(TinyTask):
    def load_data(self, path):
        rows = super().load_data(path)
        return Examples(columns={**rows.columns, "inputs": rows.columns["inputs"].double()})


class Whole(TinyTask):
    def load_data(self, path):
        rows = super().load_data(path)
        return Examples(columns={**rows.columns, "inputs": rows.columns["inputs"].long()})


def test_a_task_is_tried_with_columns_as_training_gives_them_and_told_what_it_was_given():
    check_task(Doubles(), TinyTask().build_model(), load_examples(Doubles(), None))
    with pytest.raises(TaskError, match=r"loss failed: .*\. It was given inputs int64 \(4, \d\), targets int64 "):
        check_task(Whole(), TinyTask().build_model(), load_examples(Whole(), None))


class FromFile(TinyTask):
    def load_data(self, path):
        return (path / "rows.csv").read_text()


def test_a_path_that_is_not_there_is_named_with_where_it_comes_from(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*rows\.csv: No such file .* from task\.data or --data, is "):
        load_examples(FromFile(), tmp_path)
    with pytest.raises(TaskError, match=r"it was given no path, for neither task\.data nor --data names one"):
        load_examples(FromFile(), None)


def test_metrics_are_sums_closed_under_addition():
    one = Metrics(sums={"loss": 2.0}, counts={"loss": 1.0})
    two = Metrics(sums={"loss": 4.0, "accuracy": 3.0}, counts={"loss": 5.0, "accuracy": 4.0})
    assert (one + two).means() == {"loss": 1.0, "accuracy": 0.75}
    assert (one + Metrics()).means() == one.means()
    assert Metrics(sums={"loss": 0.0}, counts={"loss": 0.0}).means() == {}


def test_the_digits_have_three_strokes_of_some_hundred_images_each():
    data = Digits().load_data(None)
    assert len(data) == 1797
    assert data.attributes["stroke"].vocabulary[:3] == STROKES
    assert data.attributes["stroke"].codes.bincount().min() > 400


class Sited(Classification):
    """Implements `from_plan`, and so knows its plan."""

    name = "sited"
    labels = ("a", "b")

    @classmethod
    def from_plan(cls, plan):
        made = cls()
        made.rounds = plan.federation.rounds
        return made

    def build_model(self):
        return nn.Linear(2, 2)

    def load_data(self, path):
        return Examples(columns={"inputs": torch.zeros(2, 2), "targets": torch.tensor([0, 1])})


def test_a_task_may_be_built_from_the_whole_plan():
    from fedcore.tasks.registry import load_task

    plan = build_plan(task={"name": f"{__name__}:Sited"}, federation={"rounds": 9})
    assert load_task(plan).rounds == 9


def test_a_task_has_only_the_optional_parts_that_it_declares():
    assert extras_of(Digits()) == TaskExtras(metrics=Digits.metrics, preprocessing=Digits.preprocessing)
    assert extras_of(object()) == TaskExtras()
    assert extras_of(Synthetic).makes_clients
