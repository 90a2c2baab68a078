"""A folder of sounding videos with captions: which of them can be used for training, and reading them as clips of one size."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..media.fit import fit_frames, fit_waveform, plan_frames
from ..media.read import VideoFile as VideoFileReader
from ..media.read import open_video
from ..printable import printable, quoted
from ..shapes import AVShape, VideoShape

VIDEOS = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm .ogv .qt .rm .rmvb "
    ".ts .vob .webm .wmv .y4m".split()
)
BESIDE, NO_CAPTIONS = "beside", "none"
LISTS = (".csv", ".jsonl")
FIELDS = "file, and caption or video_caption and audio_caption"
SKIPPED = "skipped.txt"
SHORT, SILENT, EMPTY = "is shorter than a clip", "has no audio", "is empty"
ORPHAN, UNTITLED, TWICE = "is a caption without a video", "has no caption", "is listed twice"


@dataclass(frozen=True)
class VideoFile:
    """A video for training. name: its path in the folder, with `/`."""

    path: Path
    name: str
    video_caption: str
    audio_caption: str


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be used, or a part of it, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.name, 300)}: {self.reason}"


@dataclass(frozen=True)
class ClipFolder:
    """The videos of a folder, sorted by name, and what was skipped."""

    folder: Path
    files: tuple[VideoFile, ...]
    skipped: tuple[Skipped, ...] = ()


Captions = dict[str, tuple[str, str]]
"""The captions of video and audio, by the name of the file."""


def list_clips(folder: Path, captions: str | Path = BESIDE) -> ClipFolder:
    """List the videos under `folder` with their captions. They are not opened.

    captions: "beside": `NAME.txt` beside each video, with one line for both modalities, or two, for video and audio. "none":
        empty captions for all. A CSV file with a header, or a JSONL file: `file`, relative to `folder`, and `caption`, or
        `video_caption` and `audio_caption`. Only the files that it lists are used.
    Videos without captions, captions without videos, and empty files are skipped.
    Raises FileNotFoundError or ValueError, in one line, for a missing folder or list, or if nothing is left.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; use a folder with videos")
    videos = {_name(path, folder): path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS and path.is_file()}
    if str(captions) == NO_CAPTIONS:
        found: Captions = dict.fromkeys(videos, ("", ""))
        skipped: list[Skipped] = []
    elif str(captions) == BESIDE:
        found, skipped = _captions_beside(folder, videos)
    else:
        found, skipped = _captions_of_list(Path(captions), folder, videos)
    skipped += [Skipped(name, UNTITLED) for name in videos.keys() - found.keys() - {each.name for each in skipped}]
    empty = {name for name in found if not videos[name].stat().st_size}
    skipped += [Skipped(name, EMPTY) for name in empty]
    files = tuple(VideoFile(videos[name], name, *found[name]) for name in sorted(found.keys() - empty))
    skipped.sort(key=lambda each: (each.name, each.reason))
    if not files:
        raise ValueError(f"{folder} has no video to train on{_because(skipped)}; {_remedy(captions)}")
    return ClipFolder(folder, files, tuple(skipped))


def summarize(skipped: Iterable[Skipped]) -> str:
    """Return in one line how many files were skipped for which reasons; "" for none."""
    reasons = Counter(each.reason.split(" (")[0] for each in skipped)
    parts = [f"{count} × {reason}" for reason, count in reasons.most_common(5)]
    more = len(reasons) - len(parts)
    return f"skipped {sum(reasons.values())}: {', '.join(parts)}{f' and {more} other reasons' if more else ''}" if reasons else ""


def write_skipped(run: Path, skipped: Iterable[Skipped]) -> None:
    """Write one line per skipped file to `skipped.txt` in a run's folder; no file if there are none."""
    lines, path = [f"{each}\n" for each in skipped], run / SKIPPED
    if not lines:
        path.unlink(missing_ok=True)
        return
    run.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def read_clips(path: Path, shape: AVShape) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield frames [F, height, width, 3] in 0..1 and waveform [channels, samples] of each complete clip of a video, in order.

    Only about one clip is in memory. Raises ValueError, in one line, for a video that is damaged, too short, or without audio;
    also after clips were yielded, if it is damaged further on.
    """
    count, cut, sound, waiting = 0, 0, _Sound(shape), deque[Tensor]()
    with open_video(path) as file:
        for frames in _cut_frames(file, shape.video):
            sound.add(file.take_audio(), file.sample_rate)
            waiting.append(frames)
            while waiting and sound.reaches(count + 1):
                yield waiting.popleft(), sound.cut(count)
                count, cut = count + 1, cut + 1
        sound.add(file.take_audio(is_last=True), file.sample_rate)
        for count, frames in enumerate(waiting, count):
            if sound.reaches(count, at_least=1):
                yield frames, sound.cut(count)
                cut += 1
        seconds, clip = float(file.frames / file.fps), shape.video.seconds
    if sound.rate is None:
        raise ValueError(SILENT)
    if not cut:
        raise ValueError(f"{SHORT} ({seconds:.3g} s of {clip:.3g} s)" if seconds < clip else f"{SILENT} at its start")


def _cut_frames(file: VideoFileReader, shape: VideoShape) -> Iterator[Tensor]:
    """Yield the frames of each complete clip, scaled to its size while they are read."""
    per_clip, one = shape.seconds * float(file.fps), replace(shape, frames=1)
    if per_clip < 1:
        raise ValueError(f"has {float(file.fps):.3g} frames per second, too few for a clip of {shape.seconds:.3g} s")
    kept: dict[int, Tensor] = {}
    number, first, last = 0, 0, 0
    indices: tuple[int, ...] = ()
    for index, (frame, _) in enumerate(file.read_frames()):
        if index == last:
            first, last, kept = round(number * per_clip), round((number + 1) * per_clip), {}
            indices = plan_frames(last - first, frame.shape[0], frame.shape[1], file.fps, shape).indices
        if index - first in indices:
            kept[index - first] = fit_frames(frame[None], shape.fps, one)[0]
        if index + 1 == last:
            yield torch.stack([kept[each] for each in indices])
            number += 1


class _Sound:
    """The waveform of a video as far as it was read and is still needed. rate: in Hz; None before the first samples."""

    def __init__(self, shape: AVShape) -> None:
        self.shape = shape
        self.rate: int | None = None
        self.wave, self.start = torch.empty(0, 0), 0  # start: the number of its first sample

    def add(self, parts: list[Tensor], rate: int | None) -> None:
        if parts:
            self.rate, self.wave = rate, torch.cat([self.wave, *parts] if self.wave.numel() else parts, 1)

    def edge(self, clip: int) -> int:
        """Return the number of the first sample of a clip."""
        return round(clip * self.shape.video.seconds * (self.rate or 0))

    def reaches(self, clip: int, at_least: int = 0) -> bool:
        """Return whether all samples before a clip, and `at_least` of its own, were read."""
        return self.rate is not None and self.start + self.wave.shape[1] >= self.edge(clip) + at_least

    def cut(self, clip: int) -> Tensor:
        """Return the waveform of a clip, fitted to its shape, and drop all before its end."""
        assert self.rate is not None
        begin, end = self.edge(clip) - self.start, self.edge(clip + 1) - self.start
        waveform = fit_waveform(self.wave[:, begin:end], self.rate, self.shape.audio)
        self.wave, self.start = self.wave[:, end:], self.start + min(end, self.wave.shape[1])
        return waveform


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _captions_beside(folder: Path, videos: dict[str, Path]) -> tuple[Captions, list[Skipped]]:
    """Read `NAME.txt` beside each video. Videos of one name have the same captions."""
    stems = {str(Path(name).with_suffix("")) for name in videos}
    texts = {str(Path(_name(path, folder)).with_suffix("")): path for path in folder.rglob("*.txt") if path.is_file()}
    skipped = [Skipped(_name(path, folder), ORPHAN) for stem, path in texts.items() if stem not in stems]
    found: Captions = {}
    for name in videos:
        path = texts.get(str(Path(name).with_suffix("")))
        if path is None:
            continue
        try:
            found[name] = _two_captions(path)
        except ValueError as error:
            skipped.append(Skipped(name, str(error)))
    return found, skipped


def _two_captions(path: Path) -> tuple[str, str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"has a caption that cannot be read ({printable(error)})") from error
    if len(lines) not in (1, 2):
        raise ValueError(f"has a caption with {len(lines)} lines (give one for both, or two, for video and audio)")
    return lines[0], lines[-1]


def _captions_of_list(path: Path, folder: Path, videos: dict[str, Path]) -> tuple[Captions, list[Skipped]]:
    """Read the rows of a CSV or JSONL file. Videos with other suffixes that it lists are added to `videos`."""
    found: Captions = {}
    skipped: list[Skipped] = []
    for where, row in _rows(path):
        name, captions = _file_of(row, folder), _captions_of(row)
        if not name:
            skipped.append(Skipped(where, "names no file"))
        elif not (folder / name).is_file():
            skipped.append(Skipped(name, ORPHAN))
        elif name in found or not all(captions):
            skipped.append(Skipped(name, TWICE if name in found else UNTITLED))
        else:
            videos.setdefault(name, folder / name)
            found[name] = captions
    return found, skipped


def _file_of(row: Any, folder: Path) -> str:
    """Return the name of a row's file in `folder`; "" if it has none."""
    name = row.get("file") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return ""
    path = Path(os.path.normpath(folder / name.strip().replace("\\", "/")))
    inside = Path(os.path.normpath(folder))
    return _name(path, inside) if path.is_relative_to(inside) else path.as_posix()


def _captions_of(row: Any) -> tuple[str, str]:
    """Return the captions of video and audio of a row, "" for those that it lacks."""
    texts = {name: value.strip() for name, value in row.items() if isinstance(value, str)} if isinstance(row, dict) else {}
    both = texts.get("caption", "")
    return texts.get("video_caption") or both, texts.get("audio_caption") or both


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield where each row is, for messages, and the row. Raises FileNotFoundError or ValueError for another kind of file."""
    if path.suffix.lower() not in LISTS:
        raise ValueError(f"data.captions is {quoted(str(path))}; give {BESIDE}, {NO_CAPTIONS}, or a .csv or .jsonl file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no list of captions {path}; give a CSV or JSONL file with {FIELDS}")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8; save it as UTF-8") from error
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(path.name, content)
        return
    reader = csv.DictReader(io.StringIO(content))
    try:
        columns = list(reader.fieldnames or ())
        if "file" not in columns or not ("caption" in columns or {"video_caption", "audio_caption"} <= set(columns)):
            raise ValueError(f"{path} has the columns {quoted(', '.join(map(str, columns)))}; give {FIELDS}")
        for row in reader:
            yield f"{path.name} line {reader.line_num}", row
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file ({printable(error)}); save it again") from error


def _json_rows(name: str, content: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield f"{name} line {number}", json.loads(line)
            except (ValueError, RecursionError):
                yield f"{name} line {number}", line


def _because(skipped: list[Skipped]) -> str:
    text = summarize(skipped)
    return f" ({text}; the first is {skipped[0]})" if text else ""


def _remedy(captions: str | Path) -> str:
    if str(captions) == BESIDE:
        return f'give each video a NAME.txt, or data.captions = a CSV or JSONL file, or "{NO_CAPTIONS}"'
    return "use a folder with videos" if str(captions) == NO_CAPTIONS else f"list files of the folder, with {FIELDS}"
