"""Every container and codec of `write_video` and `write_audio`: what it holds, and the effect of its settings."""

import json
import os
import resource

import av
import numpy as np
import pytest
import torch
from PIL import Image

from duet_av.av_models.media import (
    CONTAINERS,
    VIDEO_CODECS,
    MuxSettings,
    output_file,
    read_metadata,
    read_video,
    write_audio,
    write_video,
)
from duet_av.av_models.media.convert import Converter
from duet_av.tests.test_media import FPS, RATE, names, pictures, tone

METADATA = {"prompt": json.dumps({"text": "é 球"}), "workflow": "w" * 100_000}
SECONDS = 12 / FPS
VIDEOS = [
    (container, codec)
    for container, spec in CONTAINERS.items()
    for codec in spec.video
    if codec in ("h265 10-bit", "av1 10-bit", "prores", "ffv1") or container == "mov"
]
AUDIO_FILES = [name for name, spec in CONTAINERS.items() if spec.is_audio]


def settings_of(container, codec, **given):
    return MuxSettings(container, codec, audio_codec=CONTAINERS[container].audio[-1], **given)


def write(path, container, codec="h264", frames=None, **given):
    frames = pictures() if frames is None else frames
    settings = settings_of(container, codec, **given) if CONTAINERS[container].video else MuxSettings(container, **given)
    return write_video(frames, path, fps=FPS, settings=settings, metadata=METADATA)


def first_frame(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def ramp(height=64, width=256):
    """A slow gradient: 8 bits show it in bands."""
    return torch.linspace(0.4, 0.5, width).expand(1, height, width)[..., None].expand(-1, -1, -1, 3).contiguous()


@pytest.mark.parametrize("container,codec", VIDEOS)
def test_every_video_format_keeps_frames_audio_and_workflow(tmp_path, container, codec):
    path = tmp_path / f"a.{container}"
    settings = settings_of(container, codec)
    report = write_video(pictures(), path, fps=FPS, audio=tone(), sample_rate=RATE, settings=settings, metadata=METADATA)
    clip = read_video(path)
    assert (report.frames, len(clip.frames), clip.fps, clip.metadata) == (12, 12, FPS, METADATA)
    assert abs(clip.audio.shape[1] - SECONDS * clip.sample_rate) < 1024
    assert (clip.frames / 255 - pictures()).abs().mean() < 0.02
    assert first_frame(path).format.name == VIDEO_CODECS[codec].pixels


@pytest.mark.parametrize("container,codec", VIDEOS)
def test_same_input_gives_the_same_bytes(tmp_path, container, codec):
    for name in "ab":
        write(tmp_path / name, container, codec)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("codec", ["h265", "h265 10-bit"])
@pytest.mark.parametrize("count", [1, 2])
def test_clips_of_one_or_two_frames_have_times(tmp_path, monkeypatch, codec, count):
    """x265 leaves the decoding times of such clips undefined."""
    monkeypatch.setattr(output_file, "_set_undefined_time", undefined := Undefined(output_file._set_undefined_time))
    write(tmp_path / "a.mp4", "mp4", codec, pictures(count))
    assert undefined.packets == count and len(read_video(tmp_path / "a.mp4").frames) == count


class Undefined:
    """Gives packets such a time before they are mended."""

    def __init__(self, mend):
        self.mend, self.packets = mend, 0

    def __call__(self, packet):
        packet.dts = -(1 << 45) + self.packets
        self.packets += 1
        self.mend(packet)


@pytest.mark.parametrize("codec", ["h265 10-bit", "av1 10-bit", "prores"])
def test_ten_bits_are_ten_bits(tmp_path, codec):
    path = tmp_path / "a"
    write(path, "mov" if codec == "prores" else "mkv", codec, ramp(), **({} if codec == "prores" else {"crf": 0}))
    luma = np.frombuffer(first_frame(path).planes[0], "<u2").reshape(64, -1)[:, :256]
    exact = 4 * (16 + 219 * np.linspace(0.4, 0.5, 256))
    assert len(np.unique(luma)) > 80  # 8 bits have 23
    assert abs(luma - exact).max() < (2 if codec == "prores" else 0.6)


def test_ffv1_keeps_every_8_bit_value(tmp_path):
    frames = torch.randint(0, 256, (3, 15, 17, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write(tmp_path / "a", "mkv", "ffv1", frames)
    assert torch.equal(read_video(tmp_path / "a").frames, frames)


@pytest.mark.parametrize("container,codec,pixels", [("mov", "prores", "yuva444p"), ("mkv", "ffv1", "bgra"), ("webp", "", "RGBA")])
def test_alpha_is_kept_where_it_can_be(tmp_path, container, codec, pixels):
    frames = torch.rand(2, 64, 64, 4, generator=torch.Generator().manual_seed(0))
    frames[..., 3] = torch.linspace(0, 1, 64)
    write(tmp_path / "a", container, codec, frames, **({"crf": 0} if container == "webp" else {}))
    if container == "webp":
        alpha = np.asarray(Image.open(tmp_path / "a"))[..., 3]
    else:
        frame = first_frame(tmp_path / "a")
        assert frame.format.name.startswith(pixels)
        alpha = frame.reformat(format="rgba").to_ndarray()[..., 3]
    assert abs(alpha / 255 - np.linspace(0, 1, 64)).max() < 0.01


def noise(height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    waves = torch.linspace(0, 1, width).expand(4, height, width)[..., None] * torch.tensor([1.0, 0.7, 0.4])
    return (waves + 0.05 * torch.randn(4, height, width, 3, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1", "h265 10-bit", "av1 10-bit"])
def test_every_crf_has_an_effect_and_0_is_lossless(tmp_path, codec):
    spec = VIDEO_CODECS[codec]
    sizes, errors = [], []
    levels = [spec.worst_crf, spec.crf, 1, 0.5, 0]
    for crf in levels:
        sizes.append(write(tmp_path / "a", "mkv", codec, noise(), crf=crf).bytes)
        luma = read_luma(tmp_path / "a", spec.bits)
        errors.append(np.mean((luma - exact_luma(noise(), spec.bits)) ** 2))
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > errors[1] > 1.1 * errors[2] > errors[3] > 0.9 * errors[4] and errors[4] < 0.2  # of rounding alone


def read_luma(path, bits):
    dtype = "u1" if bits == 8 else "<u2"
    with av.open(str(path)) as container:
        planes = [frame.planes[0] for frame in container.decode(video=0)]
        frames = [np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width] for plane in planes]
    return np.stack(frames).astype(float)


def exact_luma(frames, bits):
    return 2 ** (bits - 8) * (16 + 219 * (frames.double().numpy() @ np.array([0.2126, 0.7152, 0.0722])))


@pytest.mark.parametrize("container,low,high", [("mp3", 32_000, 320_000), ("opus", 16_000, 512_000), ("mp4", 16_000, 256_000)])
def test_the_audio_bit_rate_has_an_effect(tmp_path, container, low, high):
    sound = 0.3 * torch.randn(2, 96_000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)

    def size(bitrate):
        settings = MuxSettings(container, audio_bitrate=bitrate)
        if container == "mp4":
            return write_video(pictures(2), tmp_path / "a", fps=1, audio=sound, sample_rate=48_000, settings=settings).bytes
        report = write_audio(sound, tmp_path / "a", 48_000, settings=settings)
        assert report.audio_bitrate == bitrate
        return report.bytes

    assert size(high) > 5 * size(low)


@pytest.mark.parametrize("rate,asked,written", [(48_000, 8_000, 32_000), (48_000, 512_000, 320_000), (16_000, 320_000, 160_000)])
def test_mp3_takes_the_nearest_bit_rate(tmp_path, rate, asked, written):
    report = write_audio(tone(rate=rate), tmp_path / "a.mp3", rate, settings=MuxSettings("mp3", audio_bitrate=asked))
    assert report.audio_bitrate == written


@pytest.mark.parametrize("container", AUDIO_FILES)
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_an_audio_file_is_as_long_as_the_frames_and_keeps_the_workflow(tmp_path, container, rate):
    path = tmp_path / f"a.{container}"
    sound = tone(2 * rate, rate=rate)
    report = write_audio(sound, path, rate, seconds=SECONDS, settings=MuxSettings(container), metadata=METADATA)
    with av.open(str(path)) as file:
        (stream,) = file.streams
        tags = file.metadata | stream.metadata
        wave = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    assert len(wave) / 2 == pytest.approx(SECONDS * report.audio_sample_rate, abs=1200)
    assert abs(wave).max() / (1 if wave.dtype.kind == "f" else 32_768) == pytest.approx(0.4, abs=0.06)
    assert (read_metadata(path).keys() >= METADATA.keys()) == (container != "wav")
    kept = json.loads(tags["comment"]) if container == "wav" else tags
    assert {name: kept[name] for name in METADATA} == METADATA
    assert report.seconds == SECONDS and f"{path.name}: 0.75 s of audio" in report.summary()
    assert report.warnings() == [f"{path.name}: the audio is 1.25 s longer than the video, so its end was cut"]


@pytest.mark.parametrize("container", ["wav", "flac"])
def test_lossless_audio_keeps_16_bits(tmp_path, container):
    values = torch.randint(-32_767, 32_768, (2, 5000), generator=torch.Generator().manual_seed(0))
    write_audio(values / 32_768, tmp_path / "a", 22_050, settings=MuxSettings(container))
    with av.open(str(tmp_path / "a")) as file:
        wave = np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in file.decode(audio=0)])
    assert np.array_equal(wave.T, values.numpy())


def test_a_gif_loops_for_ever_in_time_and_says_what_it_leaves_out(tmp_path):
    report = write_video(
        pictures(), tmp_path / "a.gif", fps=FPS, audio=tone(), sample_rate=RATE, settings=MuxSettings("gif"), metadata=METADATA
    )
    gif = Image.open(tmp_path / "a.gif")
    times, errors = [], []
    for index in range(gif.n_frames):
        gif.seek(index)
        times.append(gif.info["duration"])
        errors.append(np.abs(np.asarray(gif.convert("RGB")) / 255 - pictures()[index].numpy()).mean())
    assert (gif.n_frames, gif.info["loop"], sum(times), gif.size) == (12, 0, 750, (64, 64))
    assert max(errors) < 0.01
    assert "gif holds no audio, so it was left out" in report.summary() and "gif keeps no workflow" in report.summary()


def test_a_gif_of_a_high_frame_rate_plays_slower_and_says_so(tmp_path):
    report = write_video(pictures(4), tmp_path / "a.gif", fps=100, settings=MuxSettings("gif"))
    gif = Image.open(tmp_path / "a.gif")
    assert gif.info["duration"] == 20 and "gif shows at most 50 frames per second, so it plays slower" in report.summary()


def test_an_animated_webp_keeps_the_workflow_as_core_does(tmp_path):
    report = write(tmp_path / "a.webp", "webp")
    webp = Image.open(tmp_path / "a.webp")
    exif = webp.getexif()
    assert exif[0x0110] == "prompt:" + METADATA["prompt"] and exif[0x010F] == "workflow:" + METADATA["workflow"]
    assert (webp.n_frames, webp.info["loop"], webp.size) == (12, 0, (64, 64)) and report.frames == 12
    assert np.abs(np.asarray(webp.convert("RGB")) / 255 - pictures()[0].numpy()).mean() < 0.02


def test_every_crf_of_webp_has_an_effect(tmp_path):
    sizes = [write(tmp_path / "a", "webp", frames=noise(), crf=crf).bytes for crf in (63, 16, 1, 0)]
    assert sizes == sorted(set(sizes))
    exact = (noise()[0] * 255).round().byte().numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a").convert("RGB")), exact)


@pytest.mark.parametrize("container", [name for name, spec in CONTAINERS.items() if not spec.is_audio])
@pytest.mark.parametrize("height,width", [(1, 1), (15, 17), (64, 65)])
def test_any_size_is_written_or_refused_in_one_line(tmp_path, container, height, width):
    for codec in CONTAINERS[container].video or ("",):
        try:
            report = write(tmp_path / "a", container, codec, torch.rand(1, height, width, 4))
        except ValueError as error:
            assert "\n" not in str(error) and ("needs a width" in str(error) or "cannot encode" in str(error))
            assert codec[:3] in ("h26", "av1") and names(tmp_path) == []
            continue
        is_exact = codec == "ffv1" or not codec
        assert report.width == (width if is_exact else width + width % 2)
        (tmp_path / "a").unlink()


@pytest.mark.parametrize("given,message", [
    ({"container": "mov", "video_codec": "vp9"}, "mov does not support vp9 video; use prores or h264, or the container mp4 or mkv"),
    ({"container": "mp4", "video_codec": "ffv1"}, "mp4 does not support ffv1 video; .* or the container mkv$"),
    ({"container": "mp4", "audio_codec": "mp3"}, "mp4 does not support mp3 audio; use aac or opus, or the container mp3$"),
    ({"container": "webp", "crf": 64}, "crf is 64; use 0 .* to 63 .* for webp"),
])  # fmt: skip
def test_what_a_container_does_not_hold(given, message):
    with pytest.raises(ValueError, match=message):
        MuxSettings(**given)


def test_audio_and_video_files_have_functions_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="container is 'wav', which holds audio alone; use write_audio"):
        write_video(pictures(), tmp_path / "a", fps=FPS, settings=MuxSettings("wav"))
    with pytest.raises(ValueError, match="container is 'gif', which is no audio file; use wav or flac or mp3 or opus"):
        write_audio(tone(), tmp_path / "a", RATE, settings=MuxSettings("gif"))
    assert names(tmp_path) == []


def gradient(low, high, height=64, width=96):
    """From one colour to another across, and darker downwards."""
    across = torch.lerp(torch.tensor(low), torch.tensor(high), torch.linspace(0, 1, width)[:, None])
    return (torch.linspace(1, 0.5, height)[:, None, None] * across)[None]


SHADES = {
    "greys": gradient((0.1, 0.1, 0.1), (0.9, 0.9, 0.9), 62, 70),
    "reds": gradient((0.9, 0.1, 0.1), (0.5, 0.05, 0.1)),
    "natural": gradient((0.8, 0.6, 0.4), (0.2, 0.5, 0.8), 50, 66),
}


@pytest.mark.parametrize("name", SHADES)
@pytest.mark.parametrize("container,codec,crf", [
    ("mp4", "h264", None), ("mp4", "h264", 0), ("mp4", "h265", 0), ("mp4", "vp9", 0), ("webm", "vp9", 0), ("webm", "av1", 0),
    ("mp4", "av1 10-bit", 0), ("mov", "prores", None), ("mkv", "ffv1", None),
])  # fmt: skip
def test_reading_and_writing_ten_times_keeps_the_mean(tmp_path, name, container, codec, crf):
    frames = first = (SHADES[name] * 255).round() / 255
    for _ in range(10):
        write(tmp_path / "a", container, codec, frames, crf=crf)
        frames = read_video(tmp_path / "a").frames[:, : first.shape[1], : first.shape[2]] / 255
    assert (frames.mean((0, 1, 2)) - first.mean((0, 1, 2))).abs().max() < 0.3 / 255


def test_frames_are_rounded_to_the_nearest_yuv():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    rgb[:20] = (200, 30, 90)
    frame = Converter(70, 50, "rgb24", "yuv420p", "left")(rgb)
    planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    luma = rgb / 255 @ np.array([0.2126, 0.7152, 0.0722])
    blue = (rgb[..., 2] / 255 - luma) / 1.8556
    assert abs(planes[0] - (16 + 219 * luma)).max() < 0.6
    assert abs(planes[1][:8] - (128 + 224 * blue[0, 0])).max() < 0.6
    assert abs(planes[1].mean() - (128 + 224 * blue.mean())) < 0.3


@pytest.mark.parametrize("container", ["mov", "gif", "webp", "wav", "flac", "mp3", "opus"])
def test_no_room_on_the_disk_is_one_line_and_leaves_nothing(tmp_path, container):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"cannot write .*a.{container}: .*free some space"):
            if CONTAINERS[container].is_audio:
                sound = 0.5 * torch.rand(2, 96_000, generator=torch.Generator().manual_seed(0))
                write_audio(sound, tmp_path / f"a.{container}", 48_000, settings=MuxSettings(container))
            else:
                write(tmp_path / f"a.{container}", container, "prores" if container == "mov" else "", noise())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


@pytest.mark.parametrize("container", ["gif", "webp"])
def test_an_interrupt_leaves_nothing(tmp_path, container):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(pictures(), tmp_path / "a", fps=FPS, settings=MuxSettings(container), check_interrupt=interrupt)
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the number of processors can be set on Linux only")
@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1", "ffv1"])
def test_frames_do_not_depend_on_the_number_of_processors(tmp_path, codec):
    write(tmp_path / "many", "mkv", codec, noise(256, 384))
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        write(tmp_path / "one", "mkv", codec, noise(256, 384))
    finally:
        os.sched_setaffinity(0, processors)
    assert torch.equal(read_video(tmp_path / "many").frames, read_video(tmp_path / "one").frames)


@pytest.mark.parametrize("container,width", [("gif", 65_536), ("webp", 16_384)])
def test_frames_that_are_too_large_for_an_animated_image(tmp_path, container, width):
    with pytest.raises(ValueError, match=f"frames are {width}×1, and {container} takes at most .*; choose mp4"):
        write(tmp_path / "a", container, frames=torch.zeros(2, 1, width, 3))
    assert names(tmp_path) == []
