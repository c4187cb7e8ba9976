from dataclasses import dataclass

from benchmarks.written_variants import Watched


@dataclass(frozen=True)
class Scripted(Watched):
    """Took so many bytes since it last counted anew."""

    took: tuple[int, ...] = ()

    def peak_bytes(self):
        return self.took[len(self.peaks)]


def test_the_most_that_was_taken_is_remembered_although_each_phase_counts_anew():
    device = Scripted("cpu", "CPU", "fp32", took=(3, 9, 5))
    assert device.most_bytes() == 3
    device.forget_peak()
    device.forget_peak()
    assert device.peak_bytes() == 5
    assert device.most_bytes() == 9
