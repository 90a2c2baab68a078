import os
import threading

import av
import pytest
import torch

from duet_av.av_models.media import MuxSettings, write_video
from duet_av.av_models.media.opening import no_traces

linux_only = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the scheduler policy can be set on Linux only")


def policies():
    found = set()
    for thread in map(int, os.listdir("/proc/self/task")):
        found.add((os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority))
    return found


def av1(path, frames, **given):
    return write_video(frames, path, fps=16, settings=MuxSettings("mp4", "av1"), **given)


@linux_only
def test_an_av1_file_leaves_no_thread_at_real_time_priority(tmp_path):
    seen = []
    av1(tmp_path / "a.mp4", torch.zeros(3, 64, 64, 3), check_interrupt=lambda: seen.append(policies()))
    assert {*seen[0], *seen[-1], *policies()} == {(os.SCHED_OTHER, 0)}


@linux_only
def test_nor_does_one_that_fails(tmp_path):
    with pytest.raises(ValueError):
        av1(tmp_path / "a.mp4", torch.full((2, 64, 64, 3), float("nan")))
    with pytest.raises(ValueError, match="cannot encode"):
        av1(tmp_path / "a.mp4", torch.zeros(2, 32, 20_000, 3))
    assert policies() == {(os.SCHED_OTHER, 0)}
    assert list(tmp_path.iterdir()) == []


@linux_only
def test_threads_that_an_encoder_starts_get_the_policy_of_the_thread_that_opens_it():
    end, ready = threading.Event(), threading.Event()
    inside = threading.Thread(target=lambda: (ready.set(), end.wait()))
    with pytest.raises(KeyError), no_traces():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # what any user may set
        inside.start()
        ready.wait()
        assert os.sched_getscheduler(inside.native_id) == os.SCHED_BATCH
        raise KeyError
    after = os.sched_getscheduler(0), os.sched_getscheduler(inside.native_id)
    end.set()
    inside.join()
    assert after == (os.SCHED_OTHER, os.SCHED_OTHER)


def test_other_systems_have_nothing_to_restore(monkeypatch):
    monkeypatch.delattr(os, "sched_setscheduler", raising=False)
    with no_traces():
        pass


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="PyAV has no SVT-AV1")
@pytest.mark.parametrize("level", [None, "2"])
def test_an_av1_file_leaves_the_environment_alone_and_logs_nothing(tmp_path, monkeypatch, capfd, level):
    monkeypatch.delenv("SVT_LOG", raising=False)
    if level:
        monkeypatch.setenv("SVT_LOG", level)
    before = dict(os.environ)
    av1(tmp_path / "a.mp4", torch.zeros(3, 64, 64, 3))
    assert dict(os.environ) == before
    assert "Svt[info]" not in capfd.readouterr().err
