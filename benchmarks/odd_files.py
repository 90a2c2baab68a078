"""Small files of the kinds that cameras, editors and recorders write, and damaged ones, made with PyAV alone.

python -m duet_av.benchmarks.odd_files FOLDER [NAME …]

`ODD_FILES` says what each file shows. These facts come from how it was made and are not read back from it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from .make_clip import X265, Pictures, Sound
from .odd_makers import (
    AAC_DELAY,
    COVER,
    FIRST_HALF,
    IN_ORDER,
    LATE,
    LONG,
    MP3_DELAY,
    MPEG4,
    PICTURES,
    SECOND_HALF,
    SOUND,
    Maker,
    clip,
    cover,
    cover_first,
    cut,
    early,
    ended_early,
    joined,
    late,
    miscounted,
    playlist,
    remuxed,
    rotated,
    subtitled,
    text,
    trimmed,
)  # fmt: skip


@dataclass(frozen=True)
class Right:
    """What is right for a file.

    frames: pictures shown; 0: no video. size: width and height, upright. fps: their mean rate. first, of: the number of the first
    picture shown, and how many numbers there are; of 0: numbers are not checked.
    click: seconds from the first picture to the click, give or take `slack`; None: no audio. channels: of the audio.
    line: a pattern of the one line that is expected in place of a clip; "": a clip is expected. either: a clip will do as well.
    refused: the same for single operations.
    """

    frames: int = 50
    size: tuple[int, int] = (128, 96)
    fps: float = 25.0
    first: int = 0
    of: int = 50
    click: float | None = 1.0
    channels: int = 2
    slack: float = 0.015
    line: str = ""
    either: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OddFile:
    """How a file is made, and what it shows."""

    make: Maker
    right: Right = Right()


NO_COPY = {"new audio": "does not support|cannot|no container"}  # of the pictures as they are
VP9 = Pictures("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "b": "200k"})
VP8 = Pictures("libvpx", options={"deadline": "realtime", "cpu-used": "8", "b": "300k"})
MPEG2 = Pictures("mpeg2video", options={"b": "900k"})
OPUS, PCM = Sound("libopus"), Sound("pcm_s16le")
JOINED_RIGHT = Right(slack=0.05)  # the first part ends with half an AAC frame
LATE_RIGHT = Right(click=1.0 - LATE / 25)
LINE, NO_VIDEO, DAMAGED, EITHER = (
    Right(line="."), Right(line="no (video|pictures)"), Right(line="damaged|not a"), Right(line=".", either=True),
)  # fmt: skip


PHONE = [1000 * i // 30 + (7 * i) % 5 for i in range(60)]  # milliseconds
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\ntarget.ts\n#EXT-X-ENDLIST\n"

IDEAS: dict[str, dict[str, OddFile]] = {
    "ordinary containers and codecs": {
        "base.mp4": OddFile(clip(PICTURES, SOUND)),
        "base.mov": OddFile(clip(Pictures("mjpeg", "yuvj420p", options={"qmin": "2", "qmax": "4"}), PCM)),
        "base.mkv": OddFile(clip(PICTURES, Sound("flac"))),
        "base.webm": OddFile(clip(VP9, OPUS)),
        "vp8.webm": OddFile(clip(VP8, Sound("vorbis", options={"strict": "experimental"}))),
        "base.ogv": OddFile(clip(VP8, OPUS, muxer="ogg")),
        "base.ts": OddFile(clip(PICTURES, SOUND)),
        "base.m2ts": OddFile(clip(PICTURES, SOUND, muxer="mpegts", mpegts_m2ts_mode="1")),
        "base.mpg": OddFile(clip(MPEG2, Sound("mp2"), muxer="mpeg")),
        "base.vob": OddFile(clip(MPEG2, Sound("ac3"), muxer="vob")),
        "base.flv": OddFile(clip(PICTURES, SOUND)),
        "old.flv": OddFile(clip(Pictures("flv", options={"b": "900k"}), Sound("libmp3lame", rate=44_100)), Right(refused=NO_COPY)),
        "base.wmv": OddFile(
            clip(Pictures("wmv2", options={"b": "900k"}), Sound("wmav2", options={"b": "128k"}), muxer="asf"),
            Right(refused=NO_COPY),
        ),
        "base.3gp": OddFile(
            clip(Pictures("h263", options={"b": "600k"}), Sound("libopencore_amrnb", 8000, "mono")),
            Right(channels=1, refused=NO_COPY),
        ),
        "base.mxf": OddFile(clip(MPEG2, Sound("pcm_s16le", layout="mono")), Right(channels=1)),
        "long.mp4": OddFile(clip(LONG, Sound(seconds=4, click=2.0)), Right(frames=100, of=100, click=2.0)),
        "hd10.mp4": OddFile(
            clip(Pictures(size=(1280, 720), frames=10, fps=Fraction(30)), Sound(seconds=0.34, click=0.2)),
            Right(10, (1280, 720), 30, of=10, click=0.2),
        ),
    },
    "streams that begin at different times": {
        "latevideo.mp4": OddFile(late(PICTURES, SOUND), LATE_RIGHT),
        "latevideo.mov": OddFile(late(MPEG4, PCM), LATE_RIGHT),
        "latevideo.mkv": OddFile(late(PICTURES, SOUND), LATE_RIGHT),
        "latevideo.webm": OddFile(late(VP9, OPUS), LATE_RIGHT),
        "latevideo.ts": OddFile(late(PICTURES, SOUND), LATE_RIGHT),
        "latevideo.flv": OddFile(late(PICTURES, SOUND), LATE_RIGHT),
        "latevideo.mpg": OddFile(late(MPEG2, Sound("mp2"), muxer="mpeg"), LATE_RIGHT),
        "latefragment.mp4": OddFile(late(PICTURES, SOUND, movflags="frag_keyframe+delay_moov"), LATE_RIGHT),
        "lateaudio.mp4": OddFile(early(PICTURES, SOUND), Right(click=1.48)),
        "lateaudio.mkv": OddFile(early(PICTURES, SOUND), Right(click=1.48)),
        "lateaudio.webm": OddFile(early(VP9, OPUS), Right(click=1.48)),
        "lateaudio.ts": OddFile(early(PICTURES, SOUND), Right(click=1.48)),
    },
    "headers that say something else than what is shown": {
        "trimmed.mp4": OddFile(trimmed(1.32, 3.32, 2.0), Right(50, of=100, first=33, click=0.68)),
        "trimmed.mov": OddFile(trimmed(2.52, 4.0, 3.0), Right(37, of=100, first=63, click=0.48)),
        "trimmed.mkv": OddFile(trimmed(1.32, 3.32, 2.0), Right(83, of=100, first=0, click=2.0)),
        "trimend.mp4": OddFile(ended_early(30), Right(frames=30)),
        "fragmented.mp4": OddFile(clip(PICTURES, SOUND, movflags="frag_keyframe+delay_moov")),
        "noedits.mp4": OddFile(clip(IN_ORDER, SOUND, movflags="frag_keyframe+empty_moov"), Right(click=1.0 + AAC_DELAY)),
        "faststart.mp4": OddFile(clip(PICTURES, SOUND, movflags="faststart")),
        "plain.avi": OddFile(miscounted(1), Right(click=1.0 + MP3_DELAY)),
        "fewer.avi": OddFile(miscounted(-10), Right(click=1.0 + MP3_DELAY)),
        "vfr.mp4": OddFile(
            clip(Pictures(frames=80, fps=Fraction(30), times=[*range(60), *range(60, 120, 3)]), Sound(seconds=4)),
            Right(80, fps=20, of=80),
        ),
        "vfr.mkv": OddFile(
            clip(Pictures(frames=80, fps=Fraction(30), times=[*range(60), *range(60, 120, 3)]), Sound(seconds=4)),
            Right(80, fps=20, of=80),
        ),
        "phone.mp4": OddFile(clip(Pictures(frames=60, fps=Fraction(1000), times=PHONE), SOUND), Right(60, fps=30, of=60)),
        "raw.h264": OddFile(clip(PICTURES), Right(click=None)),
        "raw.hevc": OddFile(clip(Pictures("libx265", options=X265), muxer="hevc"), Right(click=None)),
    },
    "codecs and tags to copy whole": {
        "hvc1.mp4": OddFile(clip(Pictures("libx265", options=X265, tag="hvc1"), SOUND)),
        "hev1.mp4": OddFile(clip(Pictures("libx265", options=X265, tag="hev1"), SOUND)),
        "av1.mp4": OddFile(clip(Pictures("libsvtav1", options={"preset": "10", "svtav1-params": "lp=1"}), SOUND)),
        "av1.webm": OddFile(clip(Pictures("libsvtav1", options={"preset": "10", "svtav1-params": "lp=1"}), OPUS)),
        "alpha.webm": OddFile(
            clip(replace(VP9, pix_fmt="yuva420p", transparent=True, options=VP9.options | {"auto-alt-ref": "0"})),
            Right(click=None, of=0),
        ),
        "prores.mov": OddFile(clip(Pictures("prores_ks", "yuv422p10le"), PCM)),
        "prores4444.mov": OddFile(
            clip(Pictures("prores_ks", "yuva444p10le", transparent=True, options={"profile": "4444"}), PCM), Right(of=0)
        ),
        "dnxhr.mov": OddFile(
            clip(
                Pictures("dnxhd", "yuv422p", size=(256, 128), frames=10, options={"profile": "dnxhr_hq"}),
                Sound("pcm_s16le", seconds=0.4, click=0.2),
            ),
            Right(10, (256, 128), of=10, click=0.2),
        ),
        "raw.avi": OddFile(
            clip(Pictures("rawvideo", "bgr24", frames=25), Sound("pcm_s16le", click=0.5, seconds=1)),
            Right(25, of=25, click=0.5, refused=NO_COPY),
        ),
        "raw.mov": OddFile(
            clip(Pictures("rawvideo", "uyvy422", frames=25), Sound("pcm_s16le", click=0.5, seconds=1)), Right(25, of=25, click=0.5)
        ),
        "ffv1.mkv": OddFile(clip(Pictures("ffv1", "yuv420p"), Sound("flac"))),
        "png.mov": OddFile(
            clip(Pictures("png", "rgba", frames=25, transparent=True), Sound("pcm_s24le", click=0.5, seconds=1)),
            Right(25, of=0, click=0.5),
        ),
        "hevc10.mp4": OddFile(clip(Pictures("libx265", "yuv420p10le", options=X265), SOUND)),
        "yuv444.mp4": OddFile(clip(Pictures(pix_fmt="yuv444p"), SOUND)),
        "full.mp4": OddFile(clip(Pictures(pix_fmt="yuvj420p"), SOUND)),
        "base.gif": OddFile(
            clip(Pictures("gif", "rgb8", frames=20, fps=Fraction(10))), Right(20, fps=10, of=20, click=None, refused=NO_COPY)
        ),
        "base.webp": OddFile(clip(Pictures("libwebp_anim", "yuv420p", frames=20)), replace(EITHER, frames=20, of=20, click=None)),
        "base.apng": OddFile(clip(Pictures("apng", "rgb24", frames=20)), Right(20, of=20, click=None, refused=NO_COPY)),
    },
    "turned, small and several pictures": {
        "rot90.mp4": OddFile(rotated(1)),
        "rot180.mp4": OddFile(rotated(2)),
        "rot270.mov": OddFile(rotated(3)),
        "rot90.mkv": OddFile(remuxed("mp4", rotated(1))),
        "odd.mkv": OddFile(clip(Pictures("ffv1", "yuv444p", size=(17, 13)), SOUND), Right(size=(17, 13), of=0)),
        "one.mkv": OddFile(
            clip(Pictures("ffv1", "yuv444p", size=(1, 1), frames=5), Sound(seconds=0.2, click=0.1)),
            Right(5, (1, 1), of=0, click=0.1),
        ),
        "single.mp4": OddFile(clip(Pictures(frames=1), Sound(seconds=0.04, click=0.02)), Right(1, of=1, click=0.02)),
        "resized.ts": OddFile(
            joined(
                clip(FIRST_HALF, Sound(seconds=1)),
                clip(replace(SECOND_HALF, size=(96, 64)), Sound(seconds=1, start=1, click=0.0)),
                suffix="ts",
            ),
            JOINED_RIGHT,
        ),
        "twovideos.mkv": OddFile(clip(PICTURES, Pictures(size=(64, 48)), SOUND)),
        "twoaudios.mkv": OddFile(clip(PICTURES, SOUND, Sound("flac", layout="mono", click=0.5))),
        "subtitles.mkv": OddFile(subtitled),
        "videoonly.mp4": OddFile(clip(PICTURES), Right(click=None)),
        "cover.mp4": OddFile(cover(COVER, PICTURES, SOUND)),
        "coverfirst.mp4": OddFile(cover_first),
    },
    "many channels, and other audio": {
        "surround.mp4": OddFile(clip(PICTURES, Sound(layout="5.1")), Right(channels=6)),
        "surround7.mp4": OddFile(clip(PICTURES, Sound(layout="7.1")), Right(channels=8)),
        "ch8.mkv": OddFile(clip(PICTURES, Sound("flac", layout="7.1")), Right(channels=8)),
        "ch16.mkv": OddFile(clip(PICTURES, Sound("pcm_s16le", layout="hexadecagonal")), Right(channels=16)),
        "ch24.mov": OddFile(clip(PICTURES, Sound("pcm_s16le", layout="22.2")), Right(channels=24)),
        "quad.mkv": OddFile(clip(PICTURES, Sound("flac", layout="quad")), Right(channels=4)),
        "three.mov": OddFile(clip(PICTURES, Sound("pcm_s32le", layout="3.0")), Right(channels=3)),
        "mono24.mov": OddFile(clip(PICTURES, Sound("pcm_s24le", layout="mono")), Right(channels=1)),
        "pcm8.avi": OddFile(clip(MPEG4, Sound("pcm_u8", layout="mono", rate=11_025)), Right(channels=1)),
        "float64.mkv": OddFile(clip(PICTURES, Sound("pcm_f64le", rate=96_000))),
        "alac.mov": OddFile(clip(PICTURES, Sound("alac"))),
        "opus.mp4": OddFile(clip(PICTURES, OPUS)),
        "changes.ts": OddFile(
            joined(
                clip(FIRST_HALF, Sound(seconds=1)),
                clip(SECOND_HALF, Sound(rate=24_000, layout="mono", seconds=1, start=1, click=0.0)),
                suffix="ts",
            ),
            JOINED_RIGHT,
        ),
        "noaudio.mkv": OddFile(clip(PICTURES, Sound("pcm_s16le", seconds=0)), Right(click=None)),
    },
    "no video": {
        "cover.mp3": OddFile(cover(COVER, Sound("libmp3lame"), id3v2_version="3"), NO_VIDEO),
        "cover.m4a": OddFile(cover(COVER, SOUND, muxer="mp4"), NO_VIDEO),
        "cover.flac": OddFile(cover(COVER, Sound("flac")), NO_VIDEO),
        "audioonly.m4a": OddFile(clip(SOUND, muxer="ipod"), NO_VIDEO),
        "audioonly.wav": OddFile(clip(Sound("pcm_s16le", layout="hexadecagonal")), NO_VIDEO),
        "changes.mp3": OddFile(
            joined(clip(Sound("libmp3lame", seconds=1)), clip(Sound("libmp3lame", 24_000, "mono", seconds=1)), suffix="mp3"),
            NO_VIDEO,
        ),
        "changes.aac": OddFile(
            joined(
                clip(Sound(seconds=1), muxer="adts"), clip(Sound(rate=24_000, layout="mono", seconds=1), muxer="adts"), suffix="aac"
            ),
            NO_VIDEO,
        ),
    },
    "damaged, empty and no video files": {
        "nomoov.mp4": OddFile(cut(clip(PICTURES, SOUND), 0.8), DAMAGED),
        "cutmdat.mp4": OddFile(cut(clip(PICTURES, SOUND, movflags="faststart"), 0.6), EITHER),
        "cut.mkv": OddFile(cut(clip(PICTURES, SOUND), 0.6), EITHER),
        "cut.ts": OddFile(cut(clip(PICTURES, SOUND), 0.6), EITHER),
        "cut.avi": OddFile(cut(clip(MPEG4, Sound("libmp3lame")), 0.6), EITHER),
        "empty.mp4": OddFile(text(""), DAMAGED),
        "text.mp4": OddFile(text("not a video\n" * 20), DAMAGED),
        "playlist.m3u8": OddFile(playlist(HLS), LINE),
        "playlist.mp4": OddFile(playlist(HLS), LINE),
        "playlist.ffconcat": OddFile(playlist("ffconcat version 1.0\nfile target.ts\n"), LINE),
    },
}
ODD_FILES: dict[str, OddFile] = {name: each for files in IDEAS.values() for name, each in files.items()}


def make_odd_file(name: str, folder: Path) -> Path:
    """Makes the file `name` of `ODD_FILES` in `folder` and returns its path."""
    path = Path(folder) / name
    ODD_FILES[name].make(path)
    return path


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ODD_FILES:
        make_odd_file(name, folder)


if __name__ == "__main__":
    main()
