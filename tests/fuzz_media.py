"""Damaged media files, for each operation that reads them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import av
import torch

from duet_av.av_models.media import MuxSettings, read_video, write_video
from duet_av.av_models.media.replace_sound import choose_container, replace_sound
from duet_av.av_models.metrics.score import score_file
from duet_av.benchmarks.forked import run_in_child
from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.tests.fuzz import Case, result_or_line

NO_COPY = ("a.flv", "a.gif")  # no container that takes new audio holds their pictures
SMALL = {"size": (64, 48), "frames": 10}
SHORT = {"seconds": 0.4, "click": 0.2}
SOURCES: dict[str, Callable[[Path], None]] = {
    "a.mp4": lambda path: write_clip(path, Pictures(**SMALL), Sound(**SHORT)),
    "a.mkv": lambda path: write_clip(path, Pictures(**SMALL), Sound("flac", layout="7.1", rate=8000, **SHORT)),
    "a.webm": lambda path: write_clip(path, Pictures("libvpx-vp9", **SMALL), Sound("libopus", **SHORT)),
    "a.ts": lambda path: write_clip(path, Pictures(start=3, **SMALL), Sound(**SHORT)),
    "a.avi": lambda path: write_clip(path, Pictures("mpeg4", **SMALL), Sound("libmp3lame", **SHORT)),
    "a.mov": lambda path: write_clip(path, Pictures("mjpeg", "yuvj420p", **SMALL), Sound("pcm_s24le", rate=8000, **SHORT)),
    "a.flv": lambda path: write_clip(path, Pictures("flv", **SMALL), Sound("libmp3lame", rate=44_100, **SHORT)),
    "a.mpg": lambda path: write_clip(path, Pictures("mpeg2video", **SMALL), Sound("mp2", **SHORT), muxer="mpeg"),
    "fragments.mp4": lambda path: write_clip(
        path, Pictures("libx265", **SMALL), Sound(layout="5.1", **SHORT), options={"movflags": "frag_keyframe+delay_moov"}
    ),
    "a.gif": lambda path: write_clip(path, Pictures("gif", "rgb8", **SMALL)),
}


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yields `count` cases; the first of each file is the file as it is."""
    made = run_in_child(partial(_make_all, folder))
    assert not made.error, made.error
    return islice(_cases(folder, seed), count)


def _make_all(folder: Path) -> None:
    for name, make in SOURCES.items():
        make(folder / name)


def _cases(folder: Path, seed: int) -> Iterator[Case]:
    number = 0
    while True:
        for name in SOURCES:
            data = (folder / name).read_bytes()
            if number:
                data = damaged(data, random.Random(f"{seed} {name} {number}"))
            yield Case(f"{name} {number}.", partial(_try_all, name, data, number == 0))
        number += 1


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Returns a file with changed bytes, mostly near its ends where the headers are, or without some of them."""
    changed = bytearray(data)
    near = chance.choice((200, 2000, len(data)))
    for _ in range(chance.choice((1, 3, 30))):
        at = chance.randrange(min(near, len(data)))
        at = chance.choice((at, len(data) - 1 - at))
        changed[at] = chance.choice((0, 1, 127, 255, changed[at] ^ 1 << chance.randrange(8), chance.randrange(256)))
    how, at = chance.randrange(6), chance.randrange(len(data))
    if how == 0:
        return bytes(changed[:at])
    if how == 1:
        return bytes(changed[:at] + changed[at + chance.randrange(1, 500) :])
    if how == 2:
        return bytes(changed[:at] + changed[max(0, at - 500) :])
    return bytes(changed)


def _try_all(name: str, data: bytes, whole: bool, folder: Path) -> None:
    source = folder / name
    source.write_bytes(data)
    readable = True
    for operation in (_score, _load, _mux, _new_audio):
        out = folder / operation.__name__
        out.mkdir()
        try:
            made = result_or_line(partial(operation, source, out))
            assert made or not whole or (operation is _new_audio and name in NO_COPY), "an undamaged file is refused"
            readable &= made or operation is _new_audio
            _check_output(out, made, readable)
        except BaseException as error:
            error.args = (f"{operation.__name__[1:]}: {error}",)
            raise


def _score(source: Path, out: Path) -> None:
    score_file(source).lines()


def _load(source: Path, out: Path) -> None:
    clip = read_video(source)
    assert clip.audio is None or clip.audio.isfinite().all(), "the audio is not finite"


def _mux(source: Path, out: Path) -> None:
    clip = read_video(source)
    write_video(
        clip.frames, out / "new.mp4", fps=clip.fps, audio=clip.audio, sample_rate=clip.sample_rate,
        settings=MuxSettings(policy="pad"), metadata=clip.metadata,
    )  # fmt: skip


def _new_audio(source: Path, out: Path) -> None:
    replace_sound(source, out / f"new.{choose_container(source)}", torch.zeros(1, 3200), 8000)


def _check_output(out: Path, made: bool, readable: bool) -> None:
    """Checks that `out` holds a whole file or none. readable: whether the source is; copied pictures are as damaged as it is."""
    files = list(out.iterdir())
    assert made or not files, f"left {[each.name for each in files]}"
    for file in files:
        with av.open(str(file)) as container:
            assert container.streams.video
            packets = list(container.demux())
        assert packets
        if readable:
            read_video(file)
