"""Reading every n-th pixel of large frames gives what whole frames have there, for less work."""

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from duet_av.av_models.media import open_video, read_video
from duet_av.av_models.media.subsample import subsample
from duet_av.av_models.media.upright import UprightFrames


def smooth(width=131, height=77, format="yuv420p"):
    """A frame with smooth colours."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    image = np.stack([60 + 120 * x, 200 - 150 * y, 80 + 90 * x * y], -1).astype(np.uint8)
    return av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=format)


@pytest.mark.parametrize(
    "format",
    ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuva420p", "yuv410p", "yuv420p10le", "yuv444p12le", "nv12", "gbrp"],
)
def test_every_third_pixel_is_that_of_the_whole_frame(format):
    frame = smooth(format=format)
    whole = UprightFrames().convert(frame)
    upright = UprightFrames(step_for=lambda width, height: 3)
    thin = upright.convert(frame)
    assert thin.shape == (26, 44, 3) and upright.shown == (131, 77)
    assert (thin.int() - whole[::3, ::3].int()).abs().max() <= (10 if format == "yuv410p" else 6)
    assert (thin.float() - whole[::3, ::3].float()).abs().mean() < 1.5


def test_only_planar_yuv_is_subsampled_before_it_is_converted():
    assert subsample(smooth(format="rgb24"), 3) is None and subsample(smooth(format="nv12"), 3) is None


def test_colours_keep_their_range_and_matrix():
    frame = smooth()
    frame.colorspace, frame.color_range = 1, 2
    thin = subsample(frame, 2)
    assert (thin.colorspace, thin.color_range) == (1, 2)


def write_large(path, count=24, width=640, height=352):
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=8, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 10 * index, np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 8)
            file.mux(video.encode(frame))
        file.mux(video.encode())
    return path


def test_a_file_is_read_so(tmp_path):
    path = write_large(tmp_path / "large.mp4")
    whole = read_video(path).frames
    with open_video(path) as file:
        thin = torch.stack([frame for frame, _ in file.read_frames(step_for=lambda width, height: width // 128)])
        assert file.size == (640, 352)
    assert thin.shape == (24, 71, 128, 3) and (thin.int() - whole[:, ::5, ::5].int()).abs().max() <= 1


def test_no_frame_waits_for_the_garbage_collector(tmp_path):
    path = write_large(tmp_path / "large.mp4")
    gc.collect()
    gc.disable()
    try:
        with open_video(path) as file:
            for _ in file.read_frames():
                pass
        assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) <= 4
    finally:
        gc.enable()
