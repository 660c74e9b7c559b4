import numpy as np
from scipy import stats

from fedcore.data.shuffles import shuffled
from fedcore.seeding import derive_seed, derive_seeds

SIZES = [7, 20, 0, 1, 20]
SEEDS = derive_seeds(3, "order", 1, 0, names=["a", "b", "c", "d", "é"])


def test_every_epoch_has_each_row_once():
    orders = shuffled(SEEDS, SIZES, epochs=3)
    for own, size in zip(orders, SIZES, strict=True):
        assert np.array_equal(np.sort(own[:, :size]), np.tile(np.arange(size), (3, 1)))
    assert not np.array_equal(orders[1, 0], orders[1, 1])


def test_a_clients_order_does_not_depend_on_those_beside_it_or_on_later_epochs():
    together = shuffled(SEEDS, SIZES, epochs=3)
    for own, seed, size in zip(together, SEEDS, SIZES, strict=True):
        assert np.array_equal(own[:2, :size], shuffled([seed], [size], epochs=2)[0])


def test_seeds_of_many_names_are_those_of_each():
    assert derive_seeds(3, "order", 1, names=["a", "é"]).tolist() == [
        derive_seed(3, "order", 1, each) for each in ("a", "é")
    ]


def test_all_permutations_are_equally_likely():
    """A false alarm once in 10,000 seeds; the seed is fixed."""
    draws = 24_000
    orders = shuffled(derive_seeds(0, "trial", names=[str(number) for number in range(draws)]), [4] * draws, epochs=2)
    for epoch in (0, 1):
        found = np.unique(orders[:, epoch] @ [64, 16, 4, 1], return_counts=True)[1]
        assert len(found) == 24
        assert stats.chisquare(found).pvalue > 1e-4
    places = np.unique(orders[:, 0, 0] * 4 + orders[:, 1, 0], return_counts=True)[1]  # epochs are independent
    assert stats.chisquare(places).pvalue > 1e-4


def test_small_clients_do_not_cost_as_much_as_the_largest(monkeypatch):
    sorted_numbers = []
    real = np.argsort
    monkeypatch.setattr(
        np, "argsort", lambda numbers, **given: sorted_numbers.append(numbers.size) or real(numbers, **given)
    )
    shuffled(range(1001), [10] * 1000 + [5000], epochs=1)
    assert sum(sorted_numbers) < 2 * (1000 * 10 + 5000)
