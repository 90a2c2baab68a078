import io
import math
import wave
from base64 import b64decode
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from PIL import Image

from duet_av.av_models import latent_map, preview
from duet_av.av_models.codecs.base import decode_in_place
from duet_av.av_models.contract import AVLatent
from duet_av.av_models.latent_map import WINDOW, LatentMap
from duet_av.av_models.preview import INTERVAL, LISTEN_SHARE, MAX_FRAMES, MAX_SIZE, TIME_SHARE, Preview, Previewer, make_sheet, wav
from duet_av.av_models.shapes import VideoShape, VideoStride
from duet_av.nodes.stand_in import Session, session
from duet_av.tests.test_aligner_node import aligner, given
from duet_av.tests.test_aligner_node import frames as clip
from duet_av.tests.test_aligner_node import sampled as sampled_aligned
from duet_av.tests.test_compare import compared
from duet_av.tests.test_nodes import latent_of, sampled, streams
from duet_av.tests.tiny import tiny_model

KEYS = ["node", "step", "steps", "sheet", "columns", "count", "width", "height", "fps", "audio"]


# The map


class LinearCodec:
    """Decodes each latent cell by a fixed matrix. `seen`: the sizes of the latents that were decoded."""

    def __init__(self, stride: VideoStride) -> None:
        self.stride, self.seen = stride, []
        pixels = stride.time * stride.space**2 * 3
        self.matrix = torch.randn(stride.channels, pixels, generator=torch.Generator().manual_seed(0)) / 20

    def decode(self, latent):
        self.seen.append(tuple(latent.shape[2:]))
        b, _, t, h, w = latent.shape
        s = self.stride.space
        y = (latent.movedim(1, -1) @ self.matrix + 0.5).view(b, t, h, w, self.stride.time, s, s, 3)
        frames = y.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, t * self.stride.time, h * s, w * s, 3)
        return frames[:, self.stride.time - 1 :] if self.stride.causal else frames


def latents(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [VideoStride(4, 8, 3), VideoStride(1, 4, 3, causal=False), VideoStride(2, 4, 3, causal=False)])
@pytest.mark.parametrize("shrink", [1, 2])
def test_the_map_of_a_linear_codec_is_its_exact_decode(monkeypatch, stride, shrink):
    monkeypatch.setattr(latent_map, "RIDGE", 1e-6)
    codec, latent = LinearCodec(stride), latents(stride.channels, 6, 9, 7)
    fast = LatentMap(stride, 6, stride.space // shrink)
    fast.fit(latent, codec)
    exact = codec.decode(latent[None])[0]
    small = torch.nn.functional.avg_pool2d(exact.movedim(-1, 1), shrink).movedim(1, -1)
    painted = fast.paint(latent)
    assert painted.dtype == torch.uint8 and painted.shape == small.shape
    assert (painted / 255 - small.clamp(0, 1)).abs().max() <= 1.5 / 255


def test_the_map_of_a_single_picture_of_a_causal_codec_is_one_frame(monkeypatch):
    monkeypatch.setattr(latent_map, "RIDGE", 1e-6)
    stride = VideoStride(4, 8, 3)
    codec, latent = LinearCodec(stride), latents(3, 1, 9, 7)
    fast = LatentMap(stride, 1, 8)
    fast.fit(latent, codec)
    exact = codec.decode(latent[None])[0]
    assert fast.paint(latent).shape == exact.shape == (1, 72, 56, 3)
    assert (fast.paint(latent) / 255 - exact.clamp(0, 1)).abs().max() <= 1.5 / 255


def test_a_fit_decodes_a_small_part_and_each_time_another():
    stride = VideoStride(4, 8, 3)
    codec, latent = LinearCodec(stride), latents(3, 9, 40, 60)
    fast = LatentMap(stride, 9, 2)
    places = set()
    for _ in range(5):
        places.add(tuple((part.start, part.stop) for part in fast._next_window(latent)))
        fast.fit(latent, codec)
    assert len(places) == 5 and set(codec.seen) == {(2, WINDOW, WINDOW)}
    assert all(stop <= size for place in places for (_, stop), size in zip(place, (9, 40, 60)))


def test_latents_without_variation_do_no_harm():
    stride = VideoStride(4, 8, 3)
    fast = LatentMap(stride, 3, 8)
    fast.fit(torch.zeros(3, 3, 4, 4), LinearCodec(stride))
    assert (fast.paint(torch.zeros(3, 3, 4, 4)).int() - 127).abs().max() <= 1


def test_latents_that_are_not_numbers_are_not_learned():
    stride = VideoStride(4, 8, 3)
    codec, latent = LinearCodec(stride), latents(3, 6, 9, 7)
    fast = LatentMap(stride, 6, 8)
    fast.fit(latent * torch.nan, codec)
    assert not fast.fitted
    fast.fit(latent, codec)
    before = fast.paint(latent)
    fast.fit(latent * torch.inf, codec)
    assert torch.equal(fast.paint(latent), before)


# The budget


class Times:
    """A clock, and codecs that take time. `decodes`, `sounds`: how often they ran."""

    def __init__(self, monkeypatch, sheet=0.0015, decode=0.005, audio=0.04) -> None:
        self.now, self.decodes, self.sounds = 0.0, 0, 0
        self.sheet, self.decode, self.audio = sheet, decode, audio
        self.model = tiny_model()
        self.shape = self.model.shape(frames=8)
        size = self.model.latent_shape(self.shape)
        self.estimate = AVLatent(latents(*size.video), latents(*size.audio))
        monkeypatch.setattr(self.model.video_codec, "decode", self._decode)
        monkeypatch.setattr(self.model.audio_codec, "decode", self._audio)
        monkeypatch.setattr(preview, "make_sheet", self._sheet)

    def __call__(self) -> float:
        return self.now

    def _decode(self, latent):
        self.now, self.decodes = self.now + self.decode, self.decodes + 1
        return self.model.video_codec.decode_with_grad(latent)

    def _audio(self, latent):
        self.now, self.sounds = self.now + self.audio, self.sounds + 1
        return self.model.audio_codec.decode_with_grad(latent)

    def _sheet(self, *args):
        self.now += self.sheet
        return make_sheet(*args)

    def run(self, seconds, steps, asked=lambda step: False):
        """Samples in steps of `seconds`; returns the previews by step and the share of the sampling time that they took."""
        previewer, found, began = Previewer(self.model, self.shape, self), {}, self.now
        for step in range(1, steps + 1):
            self.now += seconds
            if shown := previewer.render_if_due(step, steps, self.estimate, lambda step=step: asked(step)):
                found[step] = shown
        return found, (self.now - began) / (seconds * steps) - 1


@pytest.mark.parametrize("seconds", [0.035, 0.055, 0.3, 5.0])
def test_a_preview_comes_at_least_at_every_third_step_and_at_the_last(monkeypatch, seconds):
    found, share = Times(monkeypatch).run(seconds, 20)
    places = [0, *found]
    assert max(after - before for before, after in zip(places, places[1:])) <= INTERVAL and places[-1] == 20
    assert share <= TIME_SHARE * 1.01


@pytest.mark.parametrize("seconds", [0.0005, 0.001, 0.003, 0.01, 0.02])
@pytest.mark.parametrize("steps", [1, 2, 4, 20, 300, 2000])
def test_short_steps_have_fewer_previews_rather_than_slower_sampling(monkeypatch, seconds, steps):
    times = Times(monkeypatch)
    for _ in range(3):
        found, share = times.run(seconds, steps)
        assert share <= TIME_SHARE * 1.01
        assert bool(found) or steps * seconds * TIME_SHARE < 0.012


def large_codec(times: Times) -> None:
    """Makes the video codec as slow as one of 150 million parameters on a CPU, which nobody has measured yet."""
    times.decode = 7.0
    times.model.video_codec.register_parameter("weight", torch.nn.Parameter(torch.zeros(1).expand(170_000_000)))


def test_a_large_codec_on_a_cpu_is_not_tried_in_a_run_that_is_too_short_for_it(monkeypatch):
    times = Times(monkeypatch)
    large_codec(times)
    assert times.run(1.0, 50) == ({}, pytest.approx(0.0)) and times.decodes == 0
    found, share = times.run(10.0, 50)
    assert len(found) >= 15 and times.decodes <= 2 and share <= TIME_SHARE * 1.01


def test_latents_are_decoded_where_the_codec_is():
    codec = tiny_model().video_codec
    codec.register_parameter("weight", torch.nn.Parameter(torch.empty(1, device="meta")))
    assert decode_in_place(codec, torch.zeros(1, 4, 1, 2, 2)).device.type == "meta"


def test_the_time_that_is_left_improves_the_map(monkeypatch):
    times = Times(monkeypatch)
    times.run(0.055, 20)
    assert 3 <= times.decodes <= 6
    before = times.decodes
    times.run(0.055, 2)
    assert times.decodes == before  # the map of the run before serves
    rich = Times(monkeypatch)
    found, _ = rich.run(5.0, 20)
    assert rich.decodes == len(found) == 19


def test_there_is_no_preview_of_what_is_not_a_number(monkeypatch):
    times = Times(monkeypatch)
    times.estimate = times.estimate.each(lambda x: x * torch.nan)
    assert times.run(5.0, 10) == ({}, pytest.approx(0.0, abs=TIME_SHARE))


def test_one_slow_preview_does_not_make_the_others_rare(monkeypatch):
    times = Times(monkeypatch)
    sheet = times._sheet
    calls = []

    delay = 0.02

    def slow(*args):
        calls.append(times.now)
        times.now += delay if len(calls) == 3 else 0.0
        return sheet(*args)

    times.run(0.055, 20)
    monkeypatch.setattr(preview, "make_sheet", slow)
    found, share = times.run(0.055, 40)
    assert len(found) >= 13 and share - delay / (40 * 0.055) <= TIME_SHARE * 1.01


def samples_of(content: bytes):
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)


def test_audio_comes_when_it_is_asked_for_and_does_not_cost_previews(monkeypatch):
    times = Times(monkeypatch, audio=3.0)
    silent, _ = times.run(0.055, 20)
    assert times.sounds == 0 and all(each.audio is None for each in silent.values())
    asked = list(silent)[2]
    found, _ = times.run(0.055, 20, asked=lambda step: step == asked)
    assert [step for step, each in found.items() if each.audio] == [asked] and list(found) == list(silent)
    rate, pcm = samples_of(found[asked].audio)
    exact = times.model.audio_codec.decode_with_grad(times.estimate.audio)[0, 0, : times.shape.audio.samples]
    assert rate == 8000 and len(pcm) == len(exact) and (pcm / 32767 - exact).abs().max() <= 1 / 32767


def test_listening_all_the_time_takes_a_tenth_of_it(monkeypatch):
    times = Times(monkeypatch, audio=0.05)
    found, share = times.run(0.1, 40, asked=lambda step: True)
    assert sum(each.audio is not None for each in found.values()) >= 3 and share <= LISTEN_SHARE + TIME_SHARE


def test_only_the_part_that_is_heard_is_decoded(monkeypatch):
    model = tiny_model()
    shape, asked = model.shape(seconds=30.0), []
    decode = model.audio_codec.decode
    monkeypatch.setattr(model.audio_codec, "decode", lambda latent: asked.append(latent.shape[2]) or decode(latent))
    Previewer(model, shape)._audio(torch.zeros(model.latent_shape(shape).audio))
    assert asked[0] * model.audio_codec.stride.samples < 11 * 8000


def test_without_memory_for_previews_the_run_goes_on(monkeypatch, time_enough):
    def fail(*args):
        raise torch.OutOfMemoryError

    model = tiny_model()
    monkeypatch.setattr(Previewer, "render_if_due", fail)
    result, sent = shown_by(lambda: sampled(model, latent_of(model), steps=3))
    assert sent == [] and result is not None


def test_audio_comes_by_itself_where_there_is_time(monkeypatch):
    found, share = Times(monkeypatch).run(5.0, 20)
    assert all(each.audio for each in found.values()) and share <= TIME_SHARE


def test_audio_is_at_most_ten_seconds_long_and_mono():
    stereo = torch.stack([torch.ones(8), -torch.ones(8)])
    assert samples_of(wav(stereo, 4))[1].abs().max() == 0
    times_model = tiny_model()
    shape = times_model.shape(seconds=12.0)
    size = times_model.latent_shape(shape)
    assert len(samples_of(Previewer(times_model, shape)._audio(torch.zeros(size.audio)))[1]) == 10 * 8000


# The picture


def tiles(shown: Preview):
    sheet = Image.open(io.BytesIO(shown.sheet))
    assert sheet.width == shown.columns * shown.width and sheet.height % shown.height == 0
    for i in range(shown.count):
        x, y = i % shown.columns * shown.width, i // shown.columns * shown.height
        yield sheet.crop((x, y, x + shown.width, y + shown.height))


def test_the_sheet_holds_the_frames_in_order_row_by_row():
    levels = torch.arange(9) * 30
    frames = levels.byte().view(9, 1, 1, 1).expand(9, 16, 24, 3)
    shown = make_sheet(frames, VideoShape(8, 30, 40, Fraction(16)), 0.5)  # of 48 × 32 pixels, three rows and eight columns too many
    assert (shown.count, shown.width, shown.height, shown.fps) == (8, 20, 15, 16.0)
    assert [round(tile.getpixel((10, 7))[0] / 30) for tile in tiles(shown)] == list(range(8))


def test_a_long_clip_shows_evenly_spaced_frames_that_last_as_long():
    frames = (torch.arange(81) * 3).byte().view(81, 1, 1, 1).expand(81, 16, 16, 3)
    shown = make_sheet(frames, VideoShape(81, 16, 16, Fraction(16)), 1.0)
    assert shown.count == MAX_FRAMES and shown.count / shown.fps == pytest.approx(81 / 16)
    seen = [round(tile.getpixel((8, 8))[0] / 3) for tile in tiles(shown)]
    assert seen == [i * 81 // 32 for i in range(32)]


def test_frames_of_large_clips_are_small():
    model = tiny_model()
    shape = model.shape(frames=5, height=480, width=832)
    size = model.latent_shape(shape)
    previewer = Previewer(model, shape)
    shown = previewer._render(AVLatent(latents(*size.video), latents(*size.audio)), 0.0, False)
    assert shown.width <= MAX_SIZE and (shown.width, shown.height, shown.count) == (208, 120, 5)


# In a graph


def shown_by(run):
    """The previews that `run` sends when there is time for them."""
    sent = []
    token = session.set(Session(on_preview=sent.append))
    try:
        return run(), sent
    finally:
        session.reset(token)


@pytest.fixture
def time_enough(monkeypatch):
    monkeypatch.setattr(preview, "TIME_SHARE", math.inf)


def test_the_sampler_sends_what_the_page_expects(monkeypatch, time_enough):
    model = tiny_model()
    monkeypatch.setattr("duet_av.nodes.live_preview.preview_audio_asked", lambda node_id: node_id == "5")
    _, sent = shown_by(lambda: sampled(model, latent_of(model), steps=3))
    assert [(each["node"], each["step"], each["steps"]) for each in sent] == [("5", 2, 3), ("5", 3, 3)]
    for each in sent:
        assert list(each) == KEYS and each["fps"] == 16.0
        kind, content = each["sheet"].split(";base64,")
        assert kind == "data:image/jpeg"
        fields = {name: each[name] for name in ("columns", "count", "width", "height", "fps")}
        assert len(list(tiles(Preview(b64decode(content), **fields)))) == 8 and fields["width"] == fields["height"] == 16
        kind, content = each["audio"].split(";base64,")
        assert kind == "data:audio/wav" and len(samples_of(b64decode(content))[1]) == 4000


def test_compare_sends_previews_of_every_cell(time_enough):
    _, sent = shown_by(lambda: compared(steps=3))
    assert [(each["step"], each["steps"]) for each in sent] == [(2, 9), (3, 9), (5, 9), (6, 9), (8, 9), (9, 9)]
    assert {each["node"] for each in sent} == {"1"}


def test_nothing_is_made_where_no_page_listens(monkeypatch):
    monkeypatch.setattr("duet_av.nodes.live_preview._make_previewer", None)
    model = tiny_model()
    sampled(model, latent_of(model))
    compared()


def test_results_are_the_same_with_previews(time_enough):
    model = tiny_model()
    plain = streams(sampled(model, latent_of(model), steps=6, eta=1.0))
    output, sent = shown_by(lambda: sampled(model, latent_of(model), steps=6, eta=1.0))
    assert sent and all(torch.equal(a, b) for a, b in zip(plain, streams(output)))


def test_aligned_results_are_the_same_with_previews(time_enough):
    model = tiny_model(trained=False)

    def run():
        return sampled_aligned(model, given(model, images=clip()), aligner("v2a", through_denoiser=True, prompt_rate=0.1))

    plain = run()
    seen, sent = shown_by(run)
    assert sent and all(torch.equal(a, b) for a, b in zip(plain, seen))


def test_a_painter_serves_only_its_shape_and_dies_with_its_codec():
    model = tiny_model()
    first = preview.find_painter(model, model.shape())
    assert preview.find_painter(model, model.shape()) is first
    other = preview.find_painter(model, replace(model.shape(), video=replace(model.shape().video, width=32)))
    assert other is not first
    count = len(preview._painters)
    del model
    assert len(preview._painters) == count - 1
