import numpy as np
import torch
from PIL import Image

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.preview import FIRST_SECONDS, MIN_WIDTH, TIME_SHARE, Previewer, render_preview
from duet_av.nodes.stand_in import Session, session
from duet_av.tests.test_nodes import latent_of, sampled
from duet_av.tests.tiny import tiny_model


def estimate(model) -> AVLatent:
    sizes = model.latent_shape(model.shape())
    return AVLatent(torch.randn(sizes.video), torch.randn(sizes.audio))


def test_a_preview_is_the_middle_frame_over_the_spectrogram():
    model = tiny_model()
    latent = estimate(model)
    picture = render_preview(model, latent)
    middle = latent.video.shape[2] // 2
    frame = model.video_codec.decode(latent.video[:, :, middle : middle + 1])[0, -1]
    assert picture.width == MIN_WIDTH and picture.height == MIN_WIDTH + MIN_WIDTH // 4
    shown = np.asarray(picture.crop((0, 0, MIN_WIDTH, MIN_WIDTH)).resize((16, 16), Image.Resampling.NEAREST)) / 255
    assert np.abs(shown - frame.numpy()).max() <= 1 / 255
    assert np.asarray(picture)[MIN_WIDTH:].std() > 0


class Clock:
    """Each drawing takes `cost` seconds."""

    def __init__(self, cost: float) -> None:
        self.now, self.cost = 0.0, cost

    def __call__(self) -> float:
        self.now += self.cost / 2
        return self.now


def test_previews_take_no_more_than_their_share(monkeypatch):
    model, clock, drawn = tiny_model(), Clock(0.0), []

    def draw(*_):
        clock.now += 0.05
        drawn.append(clock.now)
        return "picture"

    monkeypatch.setattr("duet_av.av_models.preview.render_preview", draw)
    previews = Previewer(model, clock)
    for _ in range(600):
        clock.now += 0.1
        previews.render_if_due(None)
    assert drawn[0] >= FIRST_SECONDS and len(drawn) > 10
    assert 0.05 * len(drawn) <= TIME_SHARE * clock.now * 1.05


def test_the_sampler_shows_previews_only_where_they_are_wanted(monkeypatch):
    model, shown = tiny_model(), []
    monkeypatch.setattr("duet_av.av_models.preview.FIRST_SECONDS", 0.0)
    token = session.set(Session(on_preview=shown.append))
    try:
        sampled(model, latent_of(model), steps=3)
        assert shown and all(isinstance(each, Image.Image) for each in shown)
    finally:
        session.reset(token)
    monkeypatch.setattr("duet_av.av_models.preview.render_preview", None)
    sampled(model, latent_of(model))
