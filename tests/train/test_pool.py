"""The pool that training draws from."""

import pytest
import torch

from studio.train.pool import Pool


class Maker:
    """Rows that are numbered as they are made; each call takes its seconds."""

    def __init__(self, rows=3, seconds=1.0):
        self.now, self.made, self._rows, self._seconds = 0.0, 0, rows, seconds

    def __call__(self):
        self.now += self._seconds
        numbers = torch.arange(self.made, self.made + self._rows)
        self.made += self._rows
        return {"number": numbers, "picture": numbers[:, None].to(torch.uint8).expand(-1, 2)}

    def pool(self, capacity, **given):
        return Pool(self, capacity, now=lambda: self.now, **given)


def drawn(pool, count=200):
    rows = pool.draw(count, torch.Generator().manual_seed(0))
    assert torch.equal(rows["number"].to(torch.uint8), rows["picture"][:, 1])
    return set(rows["number"].tolist())


def test_filling_makes_what_is_asked_for_and_no_more_than_it_holds():
    maker = Maker()
    pool = maker.pool(8, share=0)
    pool.fill(4)
    assert (len(pool), maker.made) == (6, 6)
    pool.fill(100)
    assert (len(pool), maker.made) == (8, 9)


def test_filling_ends_when_it_has_taken_long_enough_with_some_rows_at_least():
    maker = Maker()
    pool = maker.pool(100, share=0)
    pool.fill(100, most_s=2.5)
    assert len(pool) == 9
    late = Maker(seconds=50).pool(100, share=0)
    late.fill(100, most_s=1)
    assert len(late) == 3


def test_rows_that_belong_together_are_drawn_together_and_every_one_is():
    pool = Maker().pool(9, share=0)
    pool.fill(9)
    assert drawn(pool) == set(range(9))


def test_the_oldest_rows_make_room():
    pool = Maker().pool(6, share=0)
    pool.fill(6)
    pool._add()
    assert drawn(pool) == {3, 4, 5, 6, 7, 8}
    assert pool.made == 9


def test_the_same_generator_draws_the_same():
    pool = Maker().pool(9, share=0)
    pool.fill(9)
    assert drawn(pool, 3) == drawn(pool, 3)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_making_takes_its_share_of_the_time(share):
    maker = Maker()
    pool = maker.pool(6, share=share)
    pool.fill(6)
    began, before = maker.now, maker.made
    for _ in range(400):
        maker.now += 0.25  # a step of training
        pool.keep_fresh()
    assert (maker.made - before) / 3 / (maker.now - began) == pytest.approx(share, abs=0.03)


def test_a_share_of_nothing_makes_nothing_more():
    maker = Maker()
    pool = maker.pool(6, share=0)
    pool.fill(6)
    maker.now += 100
    pool.keep_fresh()
    assert maker.made == 6


def test_what_is_made_within_a_step_of_training_is_made_in_full_precision():
    said = []

    def make():
        product = torch.nn.Linear(2, 2)(torch.ones(1, 2)) @ torch.ones(2, 2)
        said.append((product.dtype, product.requires_grad))
        return {"x": product}

    with torch.autocast("cpu", torch.bfloat16):
        Pool(make, 1, share=0).fill(1)
    assert said == [(torch.float32, False)]
