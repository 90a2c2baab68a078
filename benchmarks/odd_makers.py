"""Ways to make odd files: each function returns a maker, which writes a file to a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .make_clip import Pictures, Sound, copy_packets, patched, write_clip

Maker = Callable[[Path], None]
MATRIX = 44  # bytes from the start of the name `tkhd` to the display matrix
TURNS = {1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}
PICTURES, SOUND = Pictures(), Sound()
IN_ORDER = Pictures(options={"bf": "0"})
AAC_DELAY, MP3_DELAY = 1024 / 48_000, 1105 / 48_000  # seconds that the encoder adds; some containers cannot say so
MPEG4 = Pictures("mpeg4", options={"b": "600k", "bf": "0"})
LONG = Pictures(frames=100, options={"g": "50", "bf": "2", "keyint_min": "50", "sc_threshold": "0"})
LATE = 12  # pictures of 1/25 s: 0.48 s
FIRST_HALF, SECOND_HALF = replace(IN_ORDER, frames=25, of=50), replace(IN_ORDER, frames=25, first=25, of=50, start=25)
COVER = Pictures("mjpeg", "yuvj420p", size=(64, 64))


def clip(*streams: Pictures | Sound, muxer: str | None = None, **options: str) -> Maker:
    """Returns a maker of a file with these streams."""
    return lambda path: write_clip(path, *streams, muxer=muxer, options=options)


def late(pictures: Pictures, sound: Sound, **options: str) -> Maker:
    """The audio begins first: the pictures begin 0.48 s later."""
    return clip(replace(pictures, start=LATE), sound, **options)


def early(pictures: Pictures, sound: Sound, **options: str) -> Maker:
    """Pictures begin first: the audio begins 0.48 s later."""
    return clip(pictures, replace(sound, start=LATE / 25, seconds=sound.seconds - LATE / 25), **options)


def trimmed(since: float, until: float, click: float) -> Maker:
    """Packets of a longer clip from the last key picture on, as by a cut without encoding. click: in the longer clip."""

    def make(path: Path) -> None:
        source = clip(LONG, Sound(seconds=4, click=click))
        with_source(path, "mp4", source, lambda whole: copy_packets(whole, path, since=since, until=until))

    return make


def with_source(path: Path, suffix: str, make: Maker, use: Callable[[Path], None]) -> None:
    """Makes a file beside `path`, calls `use` with it, and deletes it."""
    source = path.with_name(f".{path.name}.source.{suffix}")
    try:
        make(source)
        use(source)
    finally:
        source.unlink(missing_ok=True)


def rotated(turns: int) -> Maker:
    """A display matrix turns the pictures."""

    def make(path: Path) -> None:
        write_clip(path, replace(PICTURES, turned=turns), SOUND)
        a, b, c, d = TURNS[turns]
        matrix = b"".join((part * 65536).to_bytes(4, "big", signed=True) for part in (a, b, 0, c, d, 0, 0, 0))
        patched(path, b"tkhd", MATRIX, matrix)

    return make


def remuxed(suffix: str, make: Maker) -> Maker:
    """The packets of another file."""
    return lambda path: with_source(path, suffix, make, lambda source: copy_packets(source, path))


def miscounted(by: int) -> Maker:
    """An AVI whose headers count other numbers of pictures."""

    def make(path: Path) -> None:
        write_clip(path, MPEG4, Sound("libmp3lame"))
        stated = (PICTURES.frames + by).to_bytes(4, "little")
        patched(path, b"avih", 8 + 16, stated)
        patched(path, b"vids", 32, stated)

    return make


def joined(*makers: Maker, suffix: str) -> Maker:
    """Files written one behind the other."""

    def make(path: Path) -> None:
        parts = []
        for each in makers:
            with_source(path, suffix, each, lambda source: parts.append(source.read_bytes()))
        path.write_bytes(b"".join(parts))

    return make


def cut(maker: Maker, keep: float) -> Maker:
    """The first part of a file."""

    def make(path: Path) -> None:
        maker(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def ended_early(frames: int) -> Maker:
    """An edit list that hides the last pictures."""

    def make(path: Path) -> None:
        write_clip(path, PICTURES, SOUND)
        patched(path, b"elst", 12, (frames * 40).to_bytes(4, "big"))  # the movie's time scale: 1000 per second

    return make


def cover(picture: Pictures, *streams: Pictures | Sound, **options: str) -> Maker:
    """A file with a cover picture."""
    return clip(*streams, replace(picture, cover=True, frames=1), **options)


def text(content: str) -> Maker:
    """A text file."""
    return lambda path: path.write_text(content, encoding="utf-8")


def playlist(content: str) -> Maker:
    """A text that names another video, which lies beside it."""

    def make(path: Path) -> None:
        write_clip(path.with_name("target.ts"), PICTURES, SOUND)
        path.write_text(content, encoding="utf-8")

    return make


def subtitled(path: Path) -> None:
    """A video with subtitles."""
    lines = text("1\n00:00:00,100 --> 00:00:01,500\na line\n")
    with_source(path, "srt", lines, lambda srt: write_clip(path, PICTURES, SOUND, subtitles=srt))


def cover_first(path: Path) -> None:
    """A cover picture whose stream comes before the video: the box with the tags stands before the tracks."""
    cover(COVER, PICTURES, SOUND)(path)
    data = path.read_bytes()
    begin = data.rindex(b"udta") - 4
    tags = data[begin : begin + int.from_bytes(data[begin : begin + 4], "big")]
    data = data.replace(tags, b"")
    header = data.index(b"mvhd") - 4
    end = header + int.from_bytes(data[header : header + 4], "big")
    path.write_bytes(data[:end] + tags + data[end:])
