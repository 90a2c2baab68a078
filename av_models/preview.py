"""Previews of a clip while it is sampled: its frames in one JPEG picture, and its audio as WAV, within a time budget."""

from __future__ import annotations

import io
import math
import time
import wave
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .codecs.base import decode_in_place
from .contract import AVLatent
from .joint_model import JointModel
from .latent_map import LatentMap
from .shapes import AVShape, VideoShape

LISTEN_SHARE = 0.1  # largest fraction of the sampling time spent on audio that was asked for, after the first
TIME_SHARE = 0.03  # largest fraction of the sampling time spent on previews, on average over a run
INTERVAL = 3  # steps between previews, at most, if the time allows
SHEET_SHARE = 0.25  # of the budget, for pictures that come more often; the rest improves them
MAX_FRAMES, MAX_SIZE, MAX_SECONDS = 32, 256, 10.0  # of a preview; MAX_SIZE: longer side of a frame in pixels
QUALITY = 80  # of the JPEG picture
SMALL = 20_000_000  # parameters of a codec that decodes the part for a preview at once
SECONDS_ON_CPU, SECONDS_ON_GPU = 5e-8, 5e-10  # of the first decode, for each further parameter: a cautious guess
T = TypeVar("T")


@dataclass(frozen=True)
class Preview:
    """The clip so far.

    sheet: a JPEG picture of `count` frames of `width` × `height` pixels, row by row in `columns` columns.
    fps: frames per second at which they last as long as the clip.
    audio: a WAV file, or None if the audio was not decoded.
    """

    sheet: bytes
    columns: int
    count: int
    width: int
    height: int
    fps: float
    audio: bytes | None = None


class Cost:
    """The seconds that something takes: the shorter of its last two times, because others may slow one of them."""

    def __init__(self, guess: float) -> None:
        self._last: deque[float] = deque([guess], maxlen=2)
        self._guessed = True

    @property
    def seconds(self) -> float:
        """The expected time."""
        return min(self._last)

    def add(self, seconds: float) -> None:
        """Add a measured time."""
        if self._guessed:
            self._last.clear()
        self._guessed = False
        self._last.append(seconds)


@dataclass
class Painter:
    """What previews of clips of `shape` learn: the map and the costs. It serves all runs with the same codec."""

    shape: AVShape
    map: LatentMap
    sheet: Cost = field(default_factory=lambda: Cost(0.003))
    decode: Cost = field(default_factory=lambda: Cost(0.006))
    audio: Cost = field(default_factory=lambda: Cost(0.25))


_painters: WeakKeyDictionary[nn.Module, Painter] = WeakKeyDictionary()  # the last one of each video codec


def find_painter(model: JointModel, shape: AVShape) -> Painter:
    """Return the painter of the runs before, or a new one."""
    codec = model.video_codec
    painter = _painters.get(codec)  # type: ignore[call-overload]  # codecs are modules
    if painter is None or painter.shape != shape:
        *_, length, height, width = model.latent_shape(shape).video
        patch = min(codec.stride.space, max(1, MAX_SIZE // max(height, width)))
        painter = Painter(shape, LatentMap(codec.stride, length, patch))
        painter.decode, painter.audio = Cost(_guess(codec, 0.006)), Cost(_guess(model.audio_codec, 0.25))
        _painters[codec] = painter  # type: ignore[index]
        make_sheet(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), VideoShape(1, 1, 1, shape.video.fps), 1.0)  # PIL loads its plugins
    return painter


def _guess(codec: Any, least: float) -> float:
    """Return a guess of the seconds of a codec's first decode. Those of published models are large, and slow on a CPU."""
    weights = list(codec.parameters())
    on_cpu = bool(weights) and weights[0].device.type == "cpu"
    large = max(0, sum(each.numel() for each in weights) - SMALL)
    return max(least, large * (SECONDS_ON_CPU if on_cpu else SECONDS_ON_GPU))


class Previewer:
    """Renders previews of one run.

    A preview comes at least at every third step, also at the last, and costs at most TIME_SHARE of the sampling time of the run.
    If both are not possible, there are fewer. What time is left goes to exact decodes, which improve the map, and to audio.
    clock: returns seconds.
    """

    def __init__(self, model: JointModel, shape: AVShape, clock: Callable[[], float] = time.perf_counter) -> None:
        self.model, self.shape, self.clock = model, shape, clock
        self.painter = find_painter(model, shape)
        self.first: tuple[int, float] | None = None  # the first reported step, and when
        self.spent = self.paused = 0.0  # seconds: what counts as spent on previews, and how long sampling has waited for them
        self.listened = 0.0  # seconds spent on audio that was asked for

    def render_if_due(self, step: int, steps: int, estimate: AVLatent, wants_audio: Callable[[], bool]) -> Preview | None:
        """Return a preview of the first clip of `estimate`, the clean latents after `step` of `steps`, if it is time for one.

        wants_audio: asked when a preview may have audio beyond the budget: the first time, and while LISTEN_SHARE allows it.
        """
        now = self.clock()
        if self.first is None:
            self.first = step, now
        if step == self.first[0]:
            return None
        per_step = (now - self.first[1] - self.paused) / (step - self.first[0])
        left = TIME_SHARE * per_step * steps - self.spent
        interval, painter = self._interval(per_step), self.painter
        needed = painter.sheet.seconds + (0.0 if painter.map.fitted else painter.decode.seconds)
        reserved = 0.0 if step == steps else painter.sheet.seconds  # for the last preview, which stays
        if (steps - step) % interval or needed + reserved > left:
            return None
        may_listen = not self.listened or self.listened + painter.audio.seconds <= LISTEN_SHARE * (now - self.first[1])
        left -= painter.sheet.seconds * ((steps - step) // interval + 1)
        return self._render(estimate, left, may_listen and wants_audio())

    def _interval(self, per_step: float) -> int:
        """Return the steps between two previews: as few as SHEET_SHARE of the budget allows, or INTERVAL if all of it does."""
        steps = self.painter.sheet.seconds / max(TIME_SHARE * per_step, 1e-9)
        return max(1, math.ceil(steps), min(math.ceil(steps / SHEET_SHARE), INTERVAL))

    def _render(self, estimate: AVLatent, left: float, audio_asked: bool) -> Preview | None:
        """Return a preview, or None if the latents are not finite. left: seconds for what is not necessary."""
        painter, latent, audio = self.painter, estimate.video[0], None
        if not painter.map.fitted or painter.decode.seconds <= left:
            _, seconds = self._timed(painter.decode, lambda: painter.map.fit(latent, self.model.video_codec))
            self.spent += seconds
            left -= seconds
        if not painter.map.fitted:
            return None
        if audio_asked or painter.audio.seconds <= left:
            audio, seconds = self._timed(painter.audio, lambda: self._audio(estimate.audio[:1]))
            self.spent += 0.0 if audio_asked else seconds
            self.listened += seconds if audio_asked else 0.0
        sheet, seconds = self._timed(
            painter.sheet, lambda: make_sheet(painter.map.paint(latent), self.shape.video, painter.map.scale)
        )
        self.spent += seconds
        return replace(sheet, audio=audio)

    def _timed(self, cost: Cost, run: Callable[[], T]) -> tuple[T, float]:
        """Return the result of `run` and its seconds, which are added to `cost`. Of an exceptional delay only a part counts."""
        self._wait()
        began = self.clock()
        result = run()
        self._wait()
        seconds = self.clock() - began
        self.paused += seconds
        cost.add(seconds)
        return result, min(seconds, 2 * cost.seconds)

    def _wait(self) -> None:
        """Wait for a GPU, so that its work before is not taken for that of a preview."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)

    def _audio(self, latent: Tensor) -> bytes:
        rate = self.shape.audio.sample_rate
        samples = min(self.shape.audio.samples, int(MAX_SECONDS * rate))
        length = math.ceil(samples / self.model.audio_codec.stride.samples)
        return wav(decode_in_place(self.model.audio_codec, latent[:, :, :length])[0, :, :samples], rate)


def make_sheet(frames: Tensor, shape: VideoShape, scale: float) -> Preview:
    """Draw evenly spaced frames of a clip. frames: [F, H, W, 3], 8 bits; scale: their size relative to `shape`.

    Frames, rows and columns of pixels outside `shape` are left out.
    """
    count = min(shape.frames, MAX_FRAMES)
    height, width = (max(1, round(size * scale)) for size in (shape.height, shape.width))
    shown = frames[torch.arange(count) * shape.frames // count, :height, :width].cpu()
    columns = math.ceil(math.sqrt(count * height / width))
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    sheet = F.pad(shown, (0, 0, 0, 0, 0, 0, 0, rows * columns - count)).unflatten(0, (rows, columns))
    pixels = sheet.transpose(1, 2).reshape(rows * height, columns * width, 3)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=QUALITY)
    return Preview(file.getvalue(), columns, count, width, height, float(shape.fps * count / shape.frames))


def wav(waveform: Tensor, sample_rate: int) -> bytes:
    """Encode a waveform [C, samples] in −1..1, mixed to mono, as a 16-bit WAV file."""
    pcm = (waveform.float().mean(0).clamp(-1, 1) * 32767).round().short().cpu()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(pcm.numpy().astype("<i2").tobytes())
    return file.getvalue()
