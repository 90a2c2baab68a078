"""Reading video files of every kind: frames, stamps, orientation and audio."""

import struct

import pytest
import torch

from duet_av.av_models.media import MuxSettings, open_video, read_video, write_video

FPS = 16
UNIT = 0x10000
IDENTITY = struct.pack(">9i", UNIT, 0, 0, 0, UNIT, 0, 0, 0, 0x40000000)


def coloured(count=3, height=48, width=80):
    """A gradient whose corners all differ."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.7 - 0.5 * x * y], -1).expand(count, -1, -1, -1).contiguous()


def written(path, frames=None, **given):
    settings = MuxSettings(crf=8, **given.pop("settings", {}))
    write_video(coloured() if frames is None else frames, path, **{"fps": FPS, "settings": settings} | given)
    return path


def turned(path, a, b, c, d):
    """Writes a display matrix into the track of an mp4 file."""
    content = path.read_bytes()
    track = content.index(IDENTITY, content.index(b"tkhd"))
    matrix = struct.pack(">9i", *(UNIT * value for value in (a, b)), 0, *(UNIT * value for value in (c, d)), 0, 0, 0, 0x40000000)
    path.write_bytes(content[:track] + matrix + content[track + 36 :])
    return path


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ((0, -1, 1, 0), lambda image: image.rot90(1)),
        ((-1, 0, 0, -1), lambda image: image.rot90(2)),
        ((0, 1, -1, 0), lambda image: image.rot90(-1)),
        ((-1, 0, 0, 1), lambda image: image.flip(1)),
        ((1, 0, 0, -1), lambda image: image.flip(0)),
        ((0, 1, 1, 0), lambda image: image.transpose(0, 1)),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_frames_are_upright(tmp_path, matrix, expected):
    plain = read_video(written(tmp_path / "a.mp4")).frames
    shown = read_video(turned(tmp_path / "a.mp4", *matrix)).frames
    assert torch.equal(shown[0], expected(plain[0]))


@pytest.mark.parametrize("matrix, size", [((1, 0, 0, 1), (20, 12)), ((0, -1, 1, 0), (12, 20))])
def test_frames_are_read_at_a_small_size(tmp_path, matrix, size):
    path = turned(written(tmp_path / "a.mp4"), *matrix)
    whole = read_video(path).frames
    with open_video(path) as file:
        small = torch.stack([frame for frame, _ in file.read_frames(size)])
    assert small.shape == (3, size[1], size[0], 3)
    reduced = torch.nn.functional.interpolate(whole.movedim(-1, 1).float(), size[::-1], mode="area").movedim(1, -1)
    assert (small.float() - reduced).abs().mean() < 1


def test_reading_and_writing_ten_times_keeps_the_mean(tmp_path):
    frames = coloured()
    for _ in range(10):
        frames = read_video(written(tmp_path / "a.mp4", frames)).frames
    assert abs(frames.float().mean().item() - 255 * coloured().mean().item()) < 0.3
