"""Decoding in chunks: the same frames with less memory, and what happens when memory runs out."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from duet_av.av_models.codecs.image_vae import ImageCodec
from duet_av.av_models.codecs.svd_vae import SVDCodec
from duet_av.av_models.decoding import CHUNKS, TILES, decode_frames
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.media import read_metadata
from duet_av.nodes.latents import latent_dict
from duet_av.nodes.mux import DuetMux
from duet_av.nodes.saved_clips import UNUSED
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests import pipelines, small
from duet_av.tests.kandinsky6 import clip, draw_noise
from duet_av.tests.published import svd_pipeline

MP4 = {"container": "mkv", "video_codec": "ffv1", "audio_codec": "flac"}


@pytest.fixture(scope="module")
def model(small_kandinsky6):
    return load_joint_model(small_kandinsky6)


def codecs() -> list:
    return [
        (small.video_codec(), (2, small.VIDEO_CHANNELS, 20, 3, 4)), (ImageCodec(pipelines.animatediff().vae, 2), (2, 4, 5, 4, 4)),
        (SVDCodec(svd_pipeline().vae, 2), (2, 4, 5, 4, 4)),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_chunks_are_the_whole_clip(number):
    codec, shape = codecs()[number]
    latent = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    chunks = list(codec.decode_chunks(latent))
    assert len(chunks) > 2 and torch.equal(torch.cat(chunks, 1), codec.decode(latent))


def test_a_stream_ends_with_the_clip(model):
    latent, shape = draw_noise(model, 41).video, clip(model, 38)
    parts = list(model.stream_video(latent, shape))
    assert len(parts) > 1 and torch.equal(torch.cat(parts), model.decode_video(latent, shape)[0])


class Short(torch.nn.Module):
    """A codec without memory for the whole clip, or for whole frames outside tiles."""

    def __init__(self, codec, needs_tiles: bool = False) -> None:
        super().__init__()
        self.codec, self.needs_tiles, self.tries = codec, needs_tiles, 0
        self.stride = codec.stride
        if needs_tiles:
            self.vae = codec.vae

    def decode(self, latent: Tensor) -> Tensor:
        self.tries += 1
        raise torch.OutOfMemoryError("out of memory")

    def decode_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        self.tries += 1
        if self.needs_tiles and not self.vae.use_tiling:
            raise torch.OutOfMemoryError("out of memory")
        yield from self.codec.decode_chunks(latent)


def test_decoding_that_runs_out_of_memory_goes_on_in_chunks(model):
    latent, said = draw_noise(model, 33).video, []
    frames = decode_frames(Short(model.video_codec), latent, said.append)
    assert torch.equal(frames, model.video_codec.decode(latent)) and said == [CHUNKS]


def test_a_clip_that_will_not_fit_is_decoded_in_chunks_at_once(model, monkeypatch):
    shape, latent, said = clip(model, 33), draw_noise(model, 33), []
    expected, _ = model.decode(latent, shape)
    monkeypatch.setattr("duet_av.av_models.joint_model.free_memory", lambda device: 10**6)
    monkeypatch.setattr(type(model.video_codec), "decode", lambda *_: pytest.fail("the whole clip was decoded"))
    frames, _ = model.decode(latent, shape, said.append)
    assert torch.equal(frames, expected) and said == [CHUNKS]


def test_chunks_that_run_out_of_memory_go_on_in_tiles(model):
    latent, said = draw_noise(model, 33).video, []
    codec = Short(model.video_codec, needs_tiles=True)
    frames = decode_frames(codec, latent, said.append)
    assert said == [CHUNKS, TILES] and codec.tries == 3 and not codec.vae.use_tiling
    assert torch.equal(frames, model.video_codec.decode(latent))  # smaller than a tile


def test_tiles_that_run_out_of_memory_end_it(model, monkeypatch):
    codec = Short(model.video_codec, needs_tiles=True)
    monkeypatch.setattr(type(codec.vae), "enable_tiling", lambda self: None)
    with pytest.raises(torch.OutOfMemoryError):
        decode_frames(codec, draw_noise(model).video)
    assert codec.tries == 3


def test_another_error_is_not_taken_for_a_lack_of_memory(model):
    codec, said = model.video_codec, []
    with pytest.raises(RuntimeError, match="channels"):
        decode_frames(codec, torch.zeros(1, 1, 1, 2, 2), said.append)
    assert not said


def save(folder: Path, model, latent=None, **changes):
    options = {"fps": 0.0, "filename_prefix": "clip", "container": MP4, "model": model, "latent": latent} | changes
    progress: list = []
    token = session.set(Session(Folders(output=folder), on_progress=lambda value, total: progress.append((value, total))))
    try:
        return DuetMux.clone_for_run({"prompt": {"1": "a"}}).execute(**options), progress
    finally:
        session.reset(token)


def pixels(path: Path) -> Tensor:
    with av.open(str(path)) as container:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])


def test_a_latent_is_decoded_while_it_is_saved(model, tmp_path, monkeypatch):
    shape, noise = clip(model, 38), draw_noise(model, 38, rows=2)
    expected = [model.decode_video(noise.video[row : row + 1], shape)[0] for row in range(2)]
    monkeypatch.setattr(type(model.video_codec), "decode", lambda *_: pytest.fail("the whole clip was decoded"))
    output, progress = save(tmp_path, model, latent_dict(noise, shape))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 and read_metadata(files[0])["prompt"] == '{"1": "a"}'
    for row, file in enumerate(files):
        assert torch.equal(pixels(file), (expected[row] * 255 + 0.5).clamp(0, 255).byte())
    facts = output.shown["duet"][0]["files"][0]
    assert facts["frames"] == 38 and facts["fps"] == 24 and progress[:38] == [(i, 38) for i in range(1, 39)]
    assert output.args[0].get_dimensions() == (48, 32)
    heard, _ = save(tmp_path / "sound", model, latent_dict(noise, shape), container={"container": "wav"})
    assert heard.shown["duet"][0]["files"][0]["seconds"] == pytest.approx(38 / 24, abs=1e-3)


def test_a_full_disk_is_one_line_and_leaves_nothing(model, tmp_path):
    latent, (soft, hard) = latent_dict(draw_noise(model, 41), clip(model, 41)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="cannot write .*clip_00001_.mkv: File too large; free some space") as error:
            save(tmp_path, model, latent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value) and not list(tmp_path.rglob("*"))


def test_cancelling_leaves_no_file(model, tmp_path):
    class CancelledError(BaseException):
        pass

    def cancel() -> None:
        raise CancelledError

    token = session.set(Session(Folders(output=tmp_path), check_interrupt=cancel))
    latent = latent_dict(draw_noise(model, 41), clip(model, 41))
    with pytest.raises(CancelledError):
        DuetMux.clone_for_run({"prompt": None}).execute(filename_prefix="clip", container=MP4, model=model, latent=latent)
    session.reset(token)
    assert not list(tmp_path.rglob("*"))


def test_what_is_missing_or_not_used_is_said(model, tmp_path):
    latent = latent_dict(draw_noise(model), clip(model))
    with pytest.raises(ValueError, match="there is nothing to save; connect images, or model and latent"):
        save(tmp_path, model)
    with pytest.raises(ValueError, match="latent is connected without model; connect the model"):
        save(tmp_path, None, latent)
    output, _ = save(tmp_path, model, latent, images=torch.zeros(1, 8, 8, 3))
    assert output.shown["text"][-1] == UNUSED and output.shown["duet"][0]["files"][0]["width"] == 48
