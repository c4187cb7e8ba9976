"""ZeroGPU: the device is asked for only where it is needed, for as long as it may take."""

import json

from studio.jobs.workshop import open_catalog
from studio.jobs.zero_gpu import wrapper
from studio.service import Studio


def gpu_that_counts(asked):
    def gpu(duration):
        def decorate(work):
            def on_device(*args):
                asked.append(duration(*args))
                yield from work(*args)

            return on_device

        return decorate

    return gpu


def test_an_embedded_engine_spends_no_quota_and_svd_does(settings, small, tiny_svd):
    asked = []
    with Studio(settings, serve=True, gpu=gpu_that_counts(asked)) as studio:
        assert studio.wait(studio.submit(small).id).state == "done"
        assert asked == []
        request = {"mode": "image-to-video", "image": small["image"], "variant": tiny_svd}
        assert studio.wait(studio.submit(request).id).state == "done"
        assert asked == [25]


def test_a_longer_clip_asks_for_longer_up_to_a_bound(settings):
    asked = []
    work = wrapper(open_catalog(settings), gpu_that_counts(asked))(lambda settings_json, task_json: iter(()))

    def ask(mode="image-to-video", **change):
        base = {"variant": "svd-xt", "frames": 25, "width": 1024, "height": 576, "steps": 25, "sampler": "euler"}
        base |= {"guidance_max": 3.0, "decode": "auto", "decode_chunk": 14, "seed": 1}
        base |= {"image": "x.png"} if mode == "image-to-video" else {"prompt": "x"}
        list(work("{}", json.dumps({"mode": mode, "request": {**base, **change}})))
        return asked.pop()

    assert ask(frames=14) < ask() < ask(steps=50) <= 240
    assert ask(steps=200) == 240
    assert 60 < ask() < 120
    painted = {"painter": "sdxl", "paint_steps": 30, "paint_sampler": "euler", "paint_guidance": 6.0}
    assert ask() < ask("text-to-video", **painted) < 160
