"""The grammar of plug-ins, the same at every point."""

import pytest

from fedcore.errors import PlanError, TaskError
from fedcore.plugins import Registry


class Wheel:
    def __init__(self, size: int = 3, *, colour: str = "red", axle: object = None) -> None:
        self.size, self.colour, self.axle = size, colour, axle

    def turn(self) -> None:
        return None


class Sign:
    def __init__(self, text: str) -> None:
        self.text = text


class Framed:
    def __init__(self, frame: str, size: int, *, number: int, colour: str = "red") -> None:
        self.all = (frame, size, number, colour)


WHEEL = Wheel(9)
KINDS = Registry(
    what="kind", rows={"wheel": f"{__name__}:Wheel", "sign": f"{__name__}:Sign", "framed": f"{__name__}:Framed"}
)


@pytest.mark.parametrize(
    "reference", ["wheel:5", {"name": "wheel", "size": 5}, {"name": f"{__name__}:Wheel", "size": 5}]
)
def test_a_registered_name_and_ones_own_take_options_alike(reference):
    assert KINDS.make(reference).size == 5


def test_an_object_is_taken_as_it_is_and_takes_no_options():
    assert KINDS.make(f"{__name__}:WHEEL") is WHEEL
    with pytest.raises(PlanError, match="takes no options"):
        KINDS.make({"name": f"{__name__}:WHEEL", "size": 5})


def test_an_option_behind_the_name_is_a_number_unless_the_class_wants_text():
    assert KINDS.make("sign:007").text == "007"
    assert KINDS.make("wheel:7").size == 7


def test_context_comes_before_options_and_is_no_option():
    assert KINDS.make("framed:4", "oak", number=2).all == ("oak", 4, 2, "red")
    with pytest.raises(PlanError, match=r"its options are: size, colour$"):
        KINDS.make({"name": "framed", "colur": "blue"}, "oak", number=2)


@pytest.mark.parametrize("name", ["whel", "whel:3", "whel:0.5"])
def test_an_unknown_name_is_answered_with_the_nearest_whether_or_not_an_option_follows(name):
    with pytest.raises(PlanError, match="unknown kind: 'whel'; did you mean 'wheel'"):
        KINDS.make(name)


def test_an_option_behind_ones_own_object_is_answered_with_how_to_give_it():
    with pytest.raises(PlanError, match=r"given by name, as in \{ name = \"my_wheel:Wheel\", option = 0.5 \}"):
        KINDS.make("my_wheel:Wheel:0.5")


def test_a_kind_without_registered_ones_expects_module_and_object():
    with pytest.raises(TaskError, match="expected hook as 'module:object', found 'mine'"):
        Registry(what="hook", rows={}).make("mine")


def test_a_missing_part_is_named():
    with pytest.raises(TaskError, match="kind 'sign' lacks turn"):
        Registry(what="kind", rows=KINDS.rows, parts=("turn",)).make("sign:x")


@pytest.mark.parametrize("reference", ["wheel:wide", {"name": "wheel", "size": "wide"}])
def test_a_text_where_a_number_belongs_is_named_with_its_option(reference):
    with pytest.raises(PlanError, match=r"^kind 'wheel': size: expected a number, found 'wide'$"):
        KINDS.make(reference)


def test_a_misspelt_name_with_a_text_behind_it_is_answered_with_the_nearest():
    with pytest.raises(TaskError, match="No module named 'whel'; did you mean 'wheel'"):
        KINDS.make("whel:wide")
