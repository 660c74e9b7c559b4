"""Update transforms."""

import pytest

from fedcore.errors import TaskError
from fedcore.transforms import NormClip, apply_on_client, load_transforms
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_parameters, build_plan
from tests.contracts import TransformContract

tight = NormClip(max_norm=0.01)
"""A transform that plans can name."""


class TestNormClip(TransformContract):
    def make_transform(self):
        return NormClip(max_norm=2.0)


def test_a_long_update_is_scaled_and_a_short_one_left():
    clip = NormClip(max_norm=5.0)
    assert apply_on_client([clip], build_parameters(6.0, 8.0)).buffer.tolist() == [3.0, 4.0]
    assert clip.on_client(build_parameters(0.3, 0.4)).buffer.tolist() == pytest.approx([0.3, 0.4])


def test_a_plan_names_transforms_and_they_run_at_every_client():
    plan = build_plan(federation={"transforms": [f"{__name__}:tight"]})
    result = simulate(TinyTask(), plan)
    assert all(record["update_norm"] <= 0.01 + 1e-6 for record in result.rounds)
    assert any(record["update_norm"] > 0.01 for record in simulate(TinyTask(), build_plan()).rounds)


def test_an_object_that_is_no_transform_is_refused():
    with pytest.raises(TaskError, match=r"is a class, and a transform is an object.* normclip = NormClip"):
        load_transforms(build_plan(federation={"transforms": ["fedcore.transforms:NormClip"]}))
    with pytest.raises(TaskError, match="is no transform"):
        load_transforms(build_plan(federation={"transforms": ["math:pi"]}))
