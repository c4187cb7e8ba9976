"""A network's calls as they are met, recorded and played back, with a recorder that plays by doing the work again."""

import pytest
import torch

from studio.engines import exact, graphs
from studio.engines.graphs import Recorded
from studio.engines.kernels import EAGER, Kernels
from studio.engines.svd_network import Conditioning, Network
from studio.engines.weights import streaming
from tests.engines.test_exact import make


class Again:
    """Plays by doing the work again, into the memory of the first result."""

    def __init__(self, fails=None):
        self.recorded = self.played = 0
        self.fails = fails

    def record(self, work):
        if self.fails:
            raise self.fails
        self.recorded += 1
        out = work().clone()

        def play():
            self.played += 1
            out.copy_(work())

        return play, out


@pytest.fixture(scope="module")
def unet():
    return exact.rewrite(make())


CONDITIONS = Conditioning(torch.ones(1, 1, 32), torch.ones(1, 4, 8, 8) / 3, torch.tensor([[6.0, 127.0, 0.02]]))


def steps(unet, kernels, count=4):
    """What guided steps give, one on the other's result."""
    network = Network(unet, CONDITIONS, 3, 1.0, 2.5, kernels=kernels)
    x, found = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(unet.device), []
    for i in range(count):
        x = network(x, torch.tensor(0.5 - i / 4))
        found.append(x)
    return found


def test_what_is_played_back_gives_what_the_network_gives(unet):
    recorder = Again()
    expected, found = steps(unet, EAGER), steps(unet, Kernels(recorder=recorder))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert (recorder.recorded, recorder.played) == (1, 3), "the first call runs as ever, the second is recorded"


def test_another_clip_is_recorded_anew(unet):
    recorder = Again()
    for _ in range(2):
        steps(unet, Kernels(recorder=recorder), count=2)
    assert recorder.recorded == 2


def test_large_steps_streamed_weights_and_other_inputs_run_as_ever(unet, monkeypatch):
    recorder = Again()
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "MOST_CELLS", 2 * 3 * 64 - 1)
        steps(unet, Kernels(recorder=recorder))
    with monkeypatch.context() as patch:
        patch.setitem(streaming._STREAMED, unet.mid_block, (None, 0))
        assert all(Recorded(unet, recorder)._ready is False for _ in range(2))
    told = {"encoder_hidden_states": torch.ones(1, 1, 32), "added_time_ids": CONDITIONS.added_ids_BN}
    recorded = Recorded(unet, recorder)
    for _ in range(3):
        recorded(torch.ones(1, 3, 8, 8, 8), torch.tensor(0.1), **told, return_dict=False)
    assert recorder.recorded == 0


def test_where_recording_fails_the_network_runs_as_ever_and_it_is_not_tried_again(unet):
    recorder = Again(fails=RuntimeError("operation not permitted when stream is capturing"))
    expected, found = steps(unet, EAGER), steps(unet, Kernels(recorder=recorder))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_running_out_of_memory_while_recording_is_the_plans_affair(unet):
    with pytest.raises(torch.OutOfMemoryError):
        steps(unet, Kernels(recorder=Again(fails=torch.OutOfMemoryError("CUDA out of memory."))))


def test_a_result_is_not_written_over_by_the_next_call(unet):
    recorded = Recorded(unet, Again())
    told = {"encoder_hidden_states": exact.prepare(unet, torch.ones(1, 1, 32), CONDITIONS.added_ids_BN, 3)}
    x = torch.randn(3, 1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    _, second, third = (recorded(x[i], torch.tensor(0.1), **told, return_dict=False)[0] for i in range(3))
    assert not torch.equal(second, third)
    assert torch.equal(third, unet(x[2], torch.tensor(0.1), **told, return_dict=False)[0])
