"""A client's rows as a file: what is written is what is read, and nothing else is taken for it."""

import io
import json
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from fedcore import Attribute, Examples
from fedcore.data.example_files import SUFFIX, is_client_file, load_client_file, save_client_file
from fedcore.errors import DataError

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def build_rows(count=6, *, vocabulary=("f", "m", "unknown"), **columns):
    generator = torch.Generator().manual_seed(count)
    codes = torch.randint(0, len(vocabulary), (count,), generator=generator)
    columns = {"inputs": torch.randn(count, 3, generator=generator), "targets": torch.arange(count) % 2, **columns}
    return Examples(columns=columns, attributes={"sex": Attribute(codes=codes, vocabulary=vocabulary)})


def written(tmp_path, training=None, held_out=None):
    path = tmp_path / f"client-0{SUFFIX}"
    save_client_file(path, training or build_rows(), held_out)
    return path


def forged(tmp_path, tensors, header):
    path = tmp_path / f"forged{SUFFIX}"
    path.write_bytes(
        save(tensors, metadata={"fedcore-rows": header if isinstance(header, str) else json.dumps(header)})
    )
    return path


def assert_same(one, other):
    assert list(one.columns) == list(other.columns)
    assert list(one.attributes) == list(other.attributes)
    for name, column in one.columns.items():
        assert column.dtype == other.columns[name].dtype
        assert torch.equal(column, other.columns[name])
    for name, attribute in one.attributes.items():
        assert attribute.vocabulary == other.attributes[name].vocabulary
        assert torch.equal(attribute.codes, other.attributes[name].codes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_columns_of_every_kind_come_back_as_they_were(tmp_path, dtype):
    column = (torch.arange(24).reshape(6, 2, 2) % 3).to(dtype)
    training, held_out = build_rows(more=column), build_rows(6, more=column.flip(0))
    found = load_client_file(written(tmp_path, training, held_out))
    assert_same(found[0], training)
    assert_same(found[1], held_out)


@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=4, unique=True),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
)
def test_any_name_and_any_finite_number_comes_back(tmp_path_factory, names, values):
    column, codes = torch.tensor(values, dtype=torch.float64), torch.zeros(len(values), dtype=torch.int64)
    attribute = Attribute(codes=codes, vocabulary=tuple({"unknown", *names}))
    training = Examples(columns=dict.fromkeys(names, column), attributes=dict.fromkeys(names, attribute))
    assert_same(load_client_file(written(tmp_path_factory.mktemp("rows"), training))[0], training)


def test_rows_without_held_out_ones_and_without_attributes_are_rows_too(tmp_path):
    training = Examples(columns={"inputs": torch.ones(2, 3)})
    found, held_out = load_client_file(written(tmp_path, training))
    assert_same(found, training)
    assert held_out is None


def test_columns_that_share_their_numbers_and_views_are_written(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    training = Examples(columns={"inputs": whole.T, "targets": whole.T, "part": whole.T[:, 1:]})
    assert_same(load_client_file(written(tmp_path, training))[0], training)


def test_only_the_ending_makes_a_client_file(tmp_path):
    assert is_client_file(tmp_path / "a.rows.safetensors")
    assert not is_client_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(tmp_path, value):
    inputs = torch.ones(3, 2)
    inputs[1, 0] = value
    with pytest.raises(DataError, match="column 'inputs' holds numbers that are not finite in 1 of 3 rows"):
        written(tmp_path, Examples(columns={"inputs": inputs}))
    assert list(tmp_path.iterdir()) == []
    path = forged(tmp_path, {"training/column/inputs": inputs}, {"columns": ["inputs"], "vocabularies": {}})
    with pytest.raises(DataError, match="not finite"):
        load_client_file(path)


def npz():
    with io.BytesIO() as file:
        np.savez(file, inputs=np.ones((3, 2)))
        return file.getvalue()


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"garbage" * 50,
        b"id,age\n1,44\n",
        npz(),
        pickle.dumps(Trap()),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        save({"inputs": torch.ones(3)}),
        save({"inputs": torch.ones(3)}, metadata={"other": "model"}),
    ],
)
def test_what_split_did_not_write_is_refused(tmp_path, content):
    path = tmp_path / f"foreign{SUFFIX}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"foreign\.rows\.safetensors is not a file of rows from fedcore split"):
        load_client_file(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file of rows at .*absent"):
        load_client_file(tmp_path / "absent.rows.safetensors")


def test_a_directory_is_no_file_of_rows(tmp_path):
    with pytest.raises(DataError, match="not a file of rows"):
        load_client_file(tmp_path)


def test_a_file_that_was_cut_short_is_refused_wherever_the_cut_is(tmp_path):
    content = written(tmp_path, build_rows(), build_rows(3)).read_bytes()
    path = tmp_path / f"cut{SUFFIX}"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            load_client_file(path)


GOOD = {"columns": ["inputs"], "vocabularies": {"sex": ["f", "unknown"]}}
INPUTS, CODES = torch.ones(3, 2), torch.tensor([0, 1, 0])


@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ("[" * 50_000, {}),
        ("null", {}),
        ("[]", {}),
        ("{}", {}),
        (GOOD | {"columns": []}, {}),
        (GOOD | {"columns": "inputs"}, {}),
        (GOOD | {"columns": ["inputs", "inputs"]}, {}),
        (GOOD | {"columns": ["inputs", "absent"]}, {}),
        (GOOD | {"columns": [7]}, {}),
        (GOOD | {"vocabularies": ["sex"]}, {}),
        (GOOD | {"vocabularies": {"sex": "fm"}}, {}),
        (GOOD | {"vocabularies": {"sex": ["f", 3, "unknown"]}}, {}),
        (GOOD | {"vocabularies": {"sex": ["f", "m"]}}, {}),
        (GOOD | {"vocabularies": {"race": ["unknown"]}}, {}),
        (GOOD, {"training/attribute/sex": CODES.double()}),
        (GOOD, {"training/attribute/sex": torch.tensor([0, 2, 0])}),
        (GOOD, {"training/attribute/sex": torch.tensor([0, -1, 0])}),
        (GOOD, {"training/attribute/sex": torch.tensor([0, 1])}),
        (GOOD, {"training/attribute/sex": CODES[:, None]}),
        (GOOD, {"training/column/inputs": torch.tensor(3.0)}),
        (GOOD, {"training/column/inputs": INPUTS[:0], "training/attribute/sex": CODES[:0]}),
        (GOOD, {"held-out/column/inputs": torch.ones(2, 2)}),
        (GOOD, {"held-out/column/inputs": torch.ones(2, 9), "held-out/attribute/sex": CODES[:2].clone()}),
        (GOOD, {"held-out/column/inputs": torch.ones(2, 2).long(), "held-out/attribute/sex": CODES[:2].clone()}),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path, header, changes):
    tensors = {"training/column/inputs": INPUTS, "training/attribute/sex": CODES}
    load_client_file(forged(tmp_path, tensors, GOOD))
    with pytest.raises(DataError):
        load_client_file(forged(tmp_path, tensors | changes, header))
