"""How well the content of video, audio and prompts matches, by a binder: in `score`, Sync Report and `duet score`."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from duet_av.av_models.binders.ensemble import BinderEnsemble
from duet_av.av_models.binders.imagebind import ImageBind
from duet_av.av_models.media import write_video
from duet_av.av_models.metrics.agreement import SIDE, AgreementMeter, AgreementSettings, Chance
from duet_av.av_models.metrics.score import score_clip, score_file
from duet_av.av_models.metrics.timeline import PAIR_COLORS, draw_timeline
from duet_av.bounce.binder import load_binder, load_bounce_bind
from duet_av.nodes.agreement_inputs import unused_prompts
from duet_av.nodes.host import InputImpl
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.nodes.sync_report import DuetSyncReport
from duet_av.tests.imagebind_weights import by_formula
from duet_av.tests.pe_av_reference import clip
from duet_av.tests.test_score import duet
from duet_av.tests.toy_binder import Quarters

RATE = 8_000


class Levels:
    """A frame's brightness, a sound's mean and a number in words are angles, in quarter turns."""

    name, licence = "Levels", "for tests only"
    modalities = frozenset({"video", "image", "audio", "text"})

    def __init__(self) -> None:
        self.shown: list[tuple[int, tuple[int, ...], float]] = []
        self.heard: list[float] = []

    def to(self, device):
        return self

    def embed_video(self, frames, fps):
        self.shown.append((frames.shape[1], tuple(frames.shape[2:4]), fps))
        return turned(frames.mean((1, 2, 3, 4)))

    def embed_image(self, image):
        return turned(image.mean((1, 2, 3)))

    def embed_audio(self, waveform, sample_rate):
        self.heard.append(waveform.shape[-1] / sample_rate)
        return turned(waveform.mean((1, 2)))

    def embed_text(self, texts):
        return turned(torch.tensor([float(text) for text in texts]))


def turned(part):
    return torch.stack([(part * math.pi / 2).cos(), (part * math.pi / 2).sin()], -1)


def alike(a, b):
    return pytest.approx(math.cos((a - b) * math.pi / 2), abs=2e-3)


def levels(values, seconds, fps=10, size=(8, 8)):
    """A clip whose brightness and sound have these levels, for so many seconds each."""
    shown = torch.cat([torch.full((round(seconds * fps), *size, 3), float(value)) for value in values])
    return shown, torch.cat([torch.full((1, round(seconds * RATE)), float(value)) for value in values], 1)


def scored(seen, heard=None, *prompts, binder=None, fps=10):
    settings = AgreementSettings(binder or Levels(), *prompts)
    return score_clip(seen, fps, heard, None if heard is None else RATE, agreement=settings)


@pytest.fixture(scope="module")
def imagebind():
    ids = torch.where(torch.arange(77) == 9, 49407, torch.arange(77) % 7 * 100)
    small = ImageBind(lambda texts: ids.expand(len(texts), -1), out=24, vision=(32, 2, 4), text=(32, 2, 4), audio=(48, 2, 4))
    small.load_state_dict(by_formula(small.state_dict()))
    return small.eval().requires_grad_(False)


class TestAgreement:
    @pytest.mark.parametrize("kind", ["Bounce-Bind", "ImageBind", "both"])
    def test_it_is_the_cosine_of_the_binders_embeddings(self, kind, imagebind):
        own = load_bounce_bind()
        binder = {"Bounce-Bind": own, "ImageBind": imagebind, "both": BinderEnsemble(own, imagebind)}[kind]
        generator = torch.Generator().manual_seed(0)
        frames, wave = torch.rand(12, 40, 48, 3, generator=generator), 0.1 * torch.randn(2, RATE, generator=generator)
        made = scored(frames, wave, "a red ball", "a ring", binder=binder, fps=12).agreement
        video, audio = binder.embed_video(frames[None], 12.0), binder.embed_audio(wave[None], RATE)
        words = {"video_prompt": binder.embed_text(["a red ball"]), "audio_prompt": binder.embed_text(["a ring"])}
        assert made.mean("video_audio") == pytest.approx(float((video * audio).sum()), abs=1e-5)
        assert made.mean("video_prompt") == pytest.approx(float((video * words["video_prompt"]).sum()), abs=1e-5)
        assert made.mean("audio_prompt") == pytest.approx(float((audio * words["audio_prompt"]).sum()), abs=1e-5)
        assert made.binder == binder.name and len(made.windows) == 1

    def test_pe_av_compares_each_prompt_with_what_it_is_for(self, small_pe_av, tmp_path, capsys):
        binder, (frames, wave) = load_binder(small_pe_av), clip(frames=6, samples=RATE)
        made = scored(frames[0], wave[0], "a red ball", "a ring", binder=binder, fps=6).agreement
        video, audio = binder.embed_video(frames[:1], 6.0), binder.embed_audio(wave[:1], RATE)
        for pair, one, text in (("video_prompt", video, "a red ball"), ("audio_prompt", audio, "a ring")):
            words = binder.embed_text_for([text], pair[:5])
            assert made.mean(pair) == pytest.approx(float((one * words).sum()), abs=1e-5)
        assert made.mean("video_audio") == pytest.approx(float((video * audio).sum()), abs=1e-5)
        write_video(frames[0], tmp_path / "clip.mp4", fps=6, audio=wave[0], sample_rate=RATE)
        code, out, _ = duet(capsys, "score", tmp_path / "clip.mp4", "--binder", small_pe_av)
        assert code == 0 and any(line.startswith(f"  agreement ({binder.name}): video and audio") for line in out)

    def test_the_report_has_all_pairs_beside_the_events(self):
        seen, heard = levels([0.5], 2)
        plain, score = score_clip(seen, 10, heard, RATE), scored(seen, heard, "0.5", "1")
        assert score.lines()[: len(plain.measurements())] == plain.measurements()
        line = "agreement (Levels): video and audio 1.00, video and prompt 1.00, audio and prompt 0.71"
        assert line in score.measurements()
        facts = score.facts()
        assert facts.pop("agreement")["audio_prompt"] == alike(0.5, 1) and facts == plain.facts()
        json.dumps(score.facts(), allow_nan=False)

    def test_without_a_binder_nothing_changes(self):
        score = score_clip(*levels([0.5], 1)[:1], 10)
        assert "agreement" not in score.facts() and draw_timeline(score).shape[0] == 296

    @pytest.mark.parametrize("length, windows", [(7.4, 1), (7.6, 2), (12.4, 2), (23, 5)])
    def test_a_long_clip_is_compared_window_by_window(self, length, windows):
        binder = Levels()
        seen, heard = levels([0.2], length)
        made = scored(seen, heard, binder=binder).agreement
        assert len(made.windows) == windows == len(binder.heard)
        assert all(a.end == pytest.approx(b.start) for a, b in zip(made.windows, made.windows[1:]))
        assert made.windows[-1].end == pytest.approx(length) and made.mean("video_audio") == alike(0, 0)
        assert sum(binder.heard) == pytest.approx(length, abs=1e-3) and max(binder.heard) < 7.5
        assert sum(count for count, _, _ in binder.shown) == round(10 * length)

    def test_the_curve_shows_where_they_part(self):
        seen, heard = levels([0.5, 0.5, 0.5, 0.5], 5)[0], levels([0.5, 0.1, 0.5, 1.0], 5)[1]
        score = scored(seen, heard, "0.5")
        facts = score.facts()["agreement"]
        curve = facts["windows"]["video_audio"]
        assert curve == [alike(0, 0), alike(0.5, 0.1), alike(0, 0), alike(0.5, 1.0)]
        assert facts["windows"]["seconds"] == [[0, 5], [5, 10], [10, 15], [15, 20]]
        assert facts["video_audio"] == pytest.approx(np.mean(curve)) and facts["windows"]["audio_prompt"] == [None] * 4
        assert "lowest: video and audio 0.71 at 17.5 s, video and prompt 1.00" in score.measurements()[-1]

    def test_means_are_weighted_by_duration(self):
        made = scored(levels([0.5], 8)[0], levels([0.5, 1.0], 4)[1][:, : 8 * RATE]).agreement
        first, second = made.curve("video_audio")
        assert made.mean("video_audio") == pytest.approx((5 * first + 3 * second) / 8) and first != pytest.approx(second, abs=0.05)

    def test_at_most_one_window_of_small_frames_is_kept(self):
        settings, held = AgreementSettings(Levels()), []
        meter = AgreementMeter(settings, 50)
        frame = torch.rand(2 * SIDE + 40, 2 * SIDE, 3)
        for _ in range(400):
            meter.add_frame(lambda: frame)
            meter.add_sound(torch.full((1, RATE // 50), 0.5), RATE)
            held.append((len(meter._frames), sum(part.shape[1] for part in meter._sound._parts) / RATE))
        assert max(count for count, _ in held) <= 7.5 * 13 and max(seconds for _, seconds in held) < 7.6
        meter.finish()
        assert all(size == (SIDE + 20, SIDE) and fps == 12.5 for _, size, fps in settings.binder.shown)

    def test_frames_that_the_file_holds_long_are_one_window(self):
        """Slides: few frames, far apart."""
        binder = Levels()
        meter = AgreementMeter(AgreementSettings(binder), 24)
        for time, value in ((0.0, 0.2), (9.0, 0.4), (9.1, 0.4), (30.0, 0.6)):
            meter.add_frame(lambda: torch.full((8, 8, 3), value), time)  # noqa: B023
        meter.add_sound(torch.cat([torch.full((1, 9 * RATE), 0.2), torch.full((1, 22 * RATE), 0.4)], 1), RATE)
        made = meter.finish()
        assert [window.start for window in made.windows] == [0, 9, 30] and max(binder.heard) <= 7.5
        assert made.curve("video_audio").tolist() == [alike(0, 0), alike(0, 0), alike(0.6, 0.4)]
        assert [fps for count, _, fps in binder.shown] == [pytest.approx(10)]  # the others are images

    @pytest.mark.parametrize("heard, words", [
        (None, "agreement (Levels): video and prompt 1.00, no audio"),
        (torch.zeros(1, 9_600), "agreement (Levels): video and prompt 1.00, the audio is silent or too short"),
        (torch.ones(1, 99), "agreement (Levels): video and prompt 1.00, the audio is silent or too short"),
        (torch.full((1, 9_600), math.nan), "agreement (Levels): video and prompt 1.00, the audio is silent or too short"),
    ])  # fmt: skip
    def test_missing_audio_is_said(self, heard, words):
        score = scored(levels([0.5], 1.2)[0], heard, "0.5", "0.1")
        assert words in score.lines() and score.agreement.mean("video_audio") is None
        json.dumps(score.facts(), allow_nan=False)
        draw_timeline(score)
        bare = scored(levels([0.5], 1.2)[0], heard)
        assert f"agreement (Levels): nothing to compare, {words.split(', ')[1]}" in bare.lines()
        draw_timeline(bare, Chance.of([bare.agreement]))

    def test_one_frame_is_an_image_and_broken_values_are_black(self, imagebind):
        broken = torch.full((1, 8, 8, 1), math.nan)
        score = scored(broken, torch.full((1, 900), 0.5))
        assert score.agreement.mean("video_audio") == alike(0, 0.5)
        alone = scored(torch.rand(1, 30, 20, 4), torch.rand(1, 900), binder=imagebind)
        assert math.isfinite(alone.agreement.mean("video_audio"))

    def test_a_file_is_compared_as_its_frames_are(self, tmp_path):
        seen, heard = levels([0.2, 0.6], 4, fps=5, size=(40, 540))
        write_video(seen, tmp_path / "clip.mkv", fps=5, audio=heard, sample_rate=RATE)
        settings = AgreementSettings(Levels(), "0.2")
        file, plain = score_file(tmp_path / "clip.mkv", agreement=settings), score_file(tmp_path / "clip.mkv")
        kept = score_clip(seen, 5, heard, RATE, agreement=settings).agreement
        assert {**file.facts(), "agreement": None} == {**plain.facts(), "agreement": None}
        assert file.agreement.curve("video_prompt") == pytest.approx(kept.curve("video_prompt"), abs=0.02)
        assert len(file.agreement.windows) == len(kept.windows) == 2


class TestChance:
    def agreements(self, *pairs, prompts=("", "")):
        return [scored(levels([a], 1)[0], levels([b], 1)[1], *prompts).agreement for a, b in pairs]

    def test_it_is_the_mean_of_all_shuffled_pairs(self):
        chance = Chance.of(self.agreements((0.1, 0.2), (0.5, 0.6), (0.9, 0.4)))
        pairs = [(0.1, 0.6), (0.1, 0.4), (0.5, 0.2), (0.5, 0.4), (0.9, 0.2), (0.9, 0.6)]
        assert chance.values["video_audio"] == pytest.approx(np.mean([math.cos((a - b) * math.pi / 2) for a, b in pairs]), abs=2e-3)
        assert chance.line().startswith("chance (Levels), from shuffled pairs of 3 clips: video and audio 0.")
        assert json.loads(json.dumps(chance.facts(), allow_nan=False))["clips"] == 3

    def test_a_prompt_for_all_has_no_chance(self):
        same = Chance.of(self.agreements((0.1, 0.2), (0.5, 0.6), prompts=("0.3", "")))
        assert same.values["video_prompt"] is None and same.values["audio_prompt"] is None
        own = [*self.agreements((0.1, 0.2), prompts=("0.3", "")), *self.agreements((0.5, 0.6), prompts=("0.7", ""))]
        assert Chance.of(own).values["video_prompt"] == pytest.approx(
            (math.cos(0.3 * math.pi) + math.cos(0.1 * math.pi)) / 2, abs=2e-3
        )

    def test_one_clip_has_none(self):
        chance = Chance.of(self.agreements((0.1, 0.2)))
        assert chance.line() == "chance (Levels): needs a batch of clips" and chance.values["video_audio"] is None

    def test_clips_without_audio_are_left_out(self):
        mute = scored(levels([0.1], 1)[0]).agreement
        chance = Chance.of([mute, *self.agreements((0.1, 0.2))])
        assert chance.values["video_audio"] is None and chance.line().endswith("2 clips: nothing to compare")


class TestTimeline:
    def test_the_curve_is_below_the_events(self):
        seen, heard = levels([0.5, 0.5, 0.5], 5)[0], levels([0.5, 0.1, 0.5], 5)[1]
        score = scored(seen, heard, "0.9")
        picture, plain = draw_timeline(score), draw_timeline(replace(score, agreement=None))
        assert picture.shape[0] > plain.shape[0] == 296 and np.array_equal(picture[:270], plain[:270])
        green = np.argwhere((picture[300:] == PAIR_COLORS["video_audio"]).all(-1))
        low = green[:, 1][green[:, 0] == green[:, 0].max()].mean() / picture.shape[1]
        assert low == pytest.approx(0.5, abs=0.02) and np.ptp(green[:, 1]) > 0.6 * picture.shape[1]
        assert (picture[300:] == PAIR_COLORS["video_prompt"]).all(-1).any()
        assert not (picture[300:] == PAIR_COLORS["audio_prompt"]).all(-1).any()
        dashed = draw_timeline(score, Chance("Levels", 2, {"video_audio": 0.3, "video_prompt": None, "audio_prompt": None}))
        assert dashed.shape == picture.shape and not np.array_equal(dashed, picture)


@pytest.fixture
def folder(tmp_path):
    """A folder of models in which there are files that are no binders."""
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    card = json.dumps({"kind": "video_codec", "architecture": "PatchVideoCodec"})
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"duet": card})
    (tmp_path / "empty").mkdir()
    return tmp_path


class TestBadInput:
    def test_a_binder_that_cannot_embed_what_is_compared_is_one_line(self):
        with pytest.raises(ValueError, match="^Quarters cannot embed text; leave the prompts empty or choose another binder$"):
            AgreementSettings(Quarters(), "a ball")
        deaf = Quarters()
        deaf.modalities = frozenset({"video"})
        with pytest.raises(ValueError, match="^Quarters cannot embed audio; choose another binder$"):
            AgreementSettings(deaf)
        assert AgreementSettings(Quarters(), " ", "").prompts == {}

    def test_what_is_no_binder_is_one_line(self, folder, capsys):
        clip = folder / "clip.mp4"
        write_video(torch.rand(4, 16, 16, 3), clip, fps=8)
        for name, words in (
            ("bare.safetensors", "bare"),
            ("other.safetensors", "other"),
            ("gone", "there is no binder"),
            ("empty", ""),
        ):
            code, out, err = duet(capsys, "score", clip, "--binder", folder / name)
            assert code == 2 and not out and len(err) == 1 and words in err[0], err
        code, out, err = duet(capsys, "score", clip, "--binder", "")
        assert code == 2 and not out and err[0].startswith("duet: there is no binder ''; use Bounce-Bind or "), err
        for name in ("bare.safetensors", "other.safetensors"):
            with pytest.raises(ValueError, match=name) as error:
                DuetSyncReport.execute(8.0, images=torch.rand(4, 16, 16, 3), binder=str(folder / name))
            assert "\n" not in str(error.value)
        assert "gone" in DuetSyncReport.validate_inputs("gone.safetensors")
        assert DuetSyncReport.validate_inputs("none") is True is DuetSyncReport.validate_inputs("Bounce-Bind")


@pytest.fixture
def binder(monkeypatch):
    made = Levels()
    monkeypatch.setattr("duet_av.nodes.model_cache.load_binder", lambda name: made)
    monkeypatch.setattr("duet_av.nodes.agreement_inputs.on_device", lambda *models: None)
    return made


class TestNode:
    def run(self, seen, heard, **inputs):
        audio = None if heard is None else {"waveform": heard, "sample_rate": RATE}
        return DuetSyncReport.execute(10.0, seen, audio, binder="Levels", **inputs)

    def test_a_batch_has_chance_and_a_prompt_for_each_clip_or_for_all(self, binder):
        clips = [levels([value], 1) for value in (0.2, 0.6)]
        seen, heard = torch.cat([frames for frames, _ in clips]), torch.stack([wave for _, wave in clips])
        output = self.run(seen, heard, video_prompt="0.2\n0.6\n", audio_prompt="0.6")
        facts = output.shown["duet"][0]
        assert [clip["agreement"]["video_prompt"] for clip in facts["clips"]] == [alike(0, 0), alike(0, 0)]
        assert [clip["agreement"]["audio_prompt"] for clip in facts["clips"]] == [alike(0.2, 0.6), alike(0, 0)]
        assert facts["chance"]["video_audio"] == alike(0.2, 0.6) == facts["chance"]["video_prompt"]
        assert facts["chance"]["audio_prompt"] is None and output.args[1].shape[0] == 2
        assert "clip 2, agreement (Levels): video and audio 1.00, video and prompt 1.00, audio and prompt 1.00" in output.args[0]
        assert output.args[0].splitlines()[-2:] == [
            "chance (Levels), from shuffled pairs of 2 clips: video and audio 0.81, video and prompt 0.81", "for tests only",
        ]  # fmt: skip
        json.dumps(output.shown, allow_nan=False)

    def test_one_clip_says_that_chance_needs_a_batch(self, binder):
        output = self.run(*(lambda seen, heard: (seen, heard[None]))(*levels([0.2], 1)))
        assert "chance (Levels): needs a batch of clips" in output.args[0].splitlines()

    def test_prompts_without_a_binder_are_told_and_change_nothing(self):
        seen, heard = levels([0.2], 1)
        audio = {"waveform": heard[None], "sample_rate": RATE}
        plain, told = (DuetSyncReport.execute(10.0, seen, audio, video_prompt=text) for text in ("", "a ball"))
        assert told.shown["duet"][0]["warnings"][0] == "prompts are not used: no binder is chosen"
        assert told.args[0] == plain.args[0] and torch.equal(told.args[1], plain.args[1])
        assert set(plain.shown["duet"][0]) == {"clips", "warnings"}

    def test_prompts_that_the_binder_cannot_embed_are_told(self):
        assert unused_prompts("Bounce-Bind Times", "a ball", "") == ["prompts are not used: Bounce-Bind Times cannot embed text"]
        assert unused_prompts("Bounce-Bind", "a ball", "") == [] == unused_prompts("Bounce-Bind Times", " ", "")

    def test_a_video_file_is_compared_too(self, binder, tmp_path):
        seen, heard = levels([0.2], 1)
        write_video(seen, tmp_path / "clip.mp4", fps=10, audio=heard, sample_rate=RATE)
        output = DuetSyncReport.execute(0.0, video=InputImpl.VideoFromFile(str(tmp_path / "clip.mp4")), binder="Levels")
        assert output.shown["duet"][0]["clips"][0]["agreement"]["video_audio"] == pytest.approx(1, abs=0.05)

    def test_another_file_of_the_same_name_is_measured_again(self, folder):
        token = session.set(Session(folders=Folders()))
        try:
            name = str(folder / "bare.safetensors")
            before = DuetSyncReport.fingerprint_inputs(name)
            save_file({"x": torch.zeros(9)}, name)
            assert DuetSyncReport.fingerprint_inputs(name) != before and DuetSyncReport.fingerprint_inputs() == ("none",)
        finally:
            session.reset(token)


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.setattr("duet_av.commands.score._load_binder", lambda *_: Levels())
        names = []
        for value in (0.2, 0.6):
            seen, heard = levels([value], 1)
            names.append(tmp_path / f"{value}.mp4")
            write_video(seen, names[-1], fps=10, audio=heard, sample_rate=RATE)
        return names

    def test_files_are_shuffled_for_chance(self, capsys, files):
        code, out, err = duet(capsys, "score", *files, "--binder", "Levels", "--video-prompt", "0.2", "--video-prompt", "0.6")
        assert code == 0 and not err and sum("agreement (Levels): video and audio" in line for line in out) == 2
        assert out[-1].startswith("chance (Levels), from shuffled pairs of 2 clips: video and audio 0.8")
        code, out, err = duet(capsys, "score", "--json", *files, "--binder", "Levels", "--audio-prompt", "0.2")
        one, two, chance = map(json.loads, out)
        assert two["agreement"]["audio_prompt"] == pytest.approx(math.cos(0.2 * math.pi), abs=0.05)
        assert chance["chance"]["clips"] == 2 and one["file"] == str(files[0])

    def test_what_is_not_used_or_does_not_fit_is_one_line(self, capsys, files):
        for arguments, words in (
            (("--video-prompt", "0.2"), "--video-prompt is given without --binder"),
            (("--binder", "Levels", *("--audio-prompt", "0.2") * 3), "--audio-prompt is given 3 times for 2 files"),
        ):
            code, out, err = duet(capsys, "score", *files, *arguments)
            assert code == 2 and not out and len(err) == 1 and words in err[0]

    def test_a_shipped_binder_is_loaded_by_name(self, capsys, tmp_path):
        seen, heard = levels([0.2], 0.5)
        write_video(seen, tmp_path / "clip.mp4", fps=10, audio=heard, sample_rate=RATE)
        code, out, err = duet(capsys, "score", tmp_path / "clip.mp4", "--binder", "Bounce-Bind", "--video-prompt", "a red ball")
        assert code == 0 and "chance (Bounce-Bind): needs a batch of clips" == out[-1]
