"""Rates: a burst, then a steady trickle, each client by itself, in bounded memory."""

from studio.ui import rates
from studio.ui.rates import Rates


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_is_followed_by_the_steady_rate():
    clock = Clock()
    bucket = Rates(2.0, 3, clock)
    assert [bucket.allow("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [bucket.allow("a") for _ in range(2)] == [True, False]
    clock.now += 100
    assert [bucket.allow("a") for _ in range(4)] == [True, True, True, False]


def test_one_client_does_not_spend_anothers_tokens():
    bucket = Rates(1.0, 1, Clock())
    assert bucket.allow("a")
    assert not bucket.allow("a")
    assert bucket.allow("b")


def test_many_clients_are_forgotten_oldest_first(monkeypatch):
    monkeypatch.setattr(rates, "_MOST_CLIENTS", 2)
    bucket = Rates(0.0, 1, Clock())
    for client in ("a", "b", "c"):
        assert bucket.allow(client)
    assert not bucket.allow("c")
    assert bucket.allow("a"), "it was forgotten, and starts anew"
