"""Clips as latents in shards, which several processes encode."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch

from duet_av.av_models.checkpoint import sub_tensors
from duet_av.av_models.contract import AVCondition, Condition
from duet_av.av_models.joining import join_experts
from duet_av.av_models.media.fit import extend_frames
from duet_av.av_models.training import shards as shards_module
from duet_av.av_models.training.clip_folder import list_clips, read_clips
from duet_av.av_models.training.latent_shards import _prompt_key, _read_condition, encode_prompts, prepare_clips
from duet_av.av_models.training.shards import Shards, hash_of, module_key
from duet_av.tests import small
from duet_av.tests.sounding import write_clip

CLIP = {"frames": 8, "height": 32, "width": 32, "fps": 16}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A small pair of experts, woven."""
    folder = tmp_path_factory.mktemp("experts")
    experts = [small.save_expert(folder, kind) for kind in ("video_expert", "audio_expert")]
    codecs = [small.save_codec(folder / f"{c.__name__}.safetensors", c()) for c in (small.video_codec, small.audio_codec)]
    return join_experts(*experts, *codecs, joint_blocks=2, name="pair", clip=CLIP)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number, seconds in enumerate((0.5, 1.1, 0.5, 0.2, 0.5)):
        write_clip(folder / f"{number}.mp4", seconds, seed=number, caption="a red ball\nmetal bounces" if number < 2 else "a ball")
    write_clip(folder / "silent.mp4", sound=False, caption="a ball")
    return folder


def prepare(pair, videos, cache, **options):
    return prepare_clips(pair, list_clips(videos), pair.shape(), cache, **options)


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_latents_and_prompts_are_those_of_the_model(pair, videos, tmp_path):
    seen = []
    data = prepare(pair, videos, tmp_path, on_clip=lambda *at: seen.append(at))
    assert len(data) == 5 and seen[-1] == (6, 6)
    assert {each.name: each.reason.split(" (")[0] for each in data.skipped} == {
        "3.mp4": "is shorter than a clip", "silent.mp4": "has no audio",
    }  # fmt: skip
    frames, wave = list(read_clips(videos / "1.mp4", pair.shape()))[1]
    full = pair.video_stride.representable(pair.shape().video)
    got = data.latents(torch.tensor([2, 0]))
    assert torch.equal(got.video[0], pair.video_codec.encode(extend_frames(frames, full)[None])[0].half().float())
    assert torch.equal(got.audio[0], pair.audio_codec.encode(wave[None])[0].half().float())
    cond = data.conditions(torch.tensor([2, 3, 4]), torch.tensor([False, False, True]))
    for row, prompts in enumerate([("a red ball", "metal bounces"), ("a ball", "a ball"), ("", "")]):
        wanted = pair.encode(*prompts)
        for stream in ("video", "audio"):
            assert torch.equal(getattr(cond, stream).tokens[row], getattr(wanted, stream).tokens[0])
            assert torch.equal(getattr(cond, stream).mask[row], getattr(wanted, stream).mask[0])


def test_only_what_is_new_is_encoded(pair, videos, tmp_path, monkeypatch):
    first = prepare(pair, videos, tmp_path)
    kept = contents(tmp_path)
    encoded = []
    encode = pair.video_codec.encode
    monkeypatch.setattr(pair.video_codec, "encode", lambda frames: encoded.append(1) or encode(frames))
    again = prepare(pair, videos, tmp_path)
    assert not encoded and contents(tmp_path) == kept and again.places == first.places and again.skipped == first.skipped
    new = write_clip(videos / "00.mp4", seed=9, caption="a blue ball")
    more = prepare(pair, videos, tmp_path)
    for path in (new, new.with_suffix(".txt")):
        path.unlink()
    assert len(encoded) == 1 and len(more) == 6 and kept.items() <= contents(tmp_path).items()
    assert set(more.places) > set(first.places) and [each for each in more.places if each in first.places] == first.places


def test_other_codecs_or_clips_have_other_shards(pair, videos, tmp_path):
    prepare(pair, videos, tmp_path)
    folders = set(tmp_path.iterdir())
    prepare_clips(pair, list_clips(videos), pair.shape(frames=4), tmp_path)
    assert len(set(tmp_path.iterdir()) - folders) == 1
    weight = next(x for name, x in pair.video_codec.named_parameters() if "decoder" not in name)
    key, folders = module_key(pair.video_codec), set(tmp_path.iterdir())
    weight.data[(0,) * weight.ndim] += 1
    assert module_key(pair.video_codec) != key
    prepare(pair, videos, tmp_path)
    weight.data[(0,) * weight.ndim] -= 1
    assert len(set(tmp_path.iterdir()) - folders) == 1


def rows(item):
    for number in range(item):
        yield {"x": torch.full((3,), float(number))}


ITEMS = {hash_of([str(number)]): 1 + number % 3 for number in range(40)}


def test_a_full_file_is_written_before_its_item_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "MOST_BYTES", 30)
    shards = Shards(tmp_path)
    shards.fill({"0" * 16: 9}, rows)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4, "three with rows, and one with the end of the item"
    assert [shards.tensors("0" * 16, n)["x"][0].item() for n in range(9)] == list(range(9))


def test_an_item_that_fails_is_skipped_with_its_rows(tmp_path):
    def encode(item):
        yield from rows(item)
        if item == 2:
            raise ValueError("is damaged")

    shards = Shards(tmp_path)
    shards.fill(ITEMS, encode)
    again = Shards(tmp_path)
    again.read()
    assert again.skipped == {key: "is damaged" for key, count in ITEMS.items() if count == 2}
    assert {key for key, _ in again.rows} == ITEMS.keys() - again.skipped.keys()


def slow(folder, log):
    """Encodes slowly, and writes every item at once."""

    def encode(item):
        with open(log, "a") as file:
            file.write("x")
        time.sleep(0.01)
        yield from rows(item)

    shards_module.MOST_SECONDS = 0
    Shards(folder).fill(ITEMS, encode, first=os.getpid() % 7)


def test_a_killed_process_loses_no_whole_file_and_two_share_the_rest(tmp_path):
    """The lock of a killed process is free again, and what it was writing does not count."""
    context, folder = multiprocessing.get_context("fork"), tmp_path / "shards"
    killed = context.Process(target=slow, args=(folder, tmp_path / "first"))
    killed.start()
    while len(list(folder.glob("*.safetensors"))) < 5:
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    (folder / "00_half.safetensors.part").write_bytes(b"x")
    done = Shards(folder)
    done.read()
    two = [context.Process(target=slow, args=(folder, tmp_path / "rest")) for _ in range(2)]
    for process in two:
        process.start()
    for process in two:
        process.join()
        assert process.exitcode == 0
    shards = Shards(folder)
    shards.read()
    assert all(map(shards.has, ITEMS)) and shards.counts == ITEMS
    assert len((tmp_path / "rest").read_text()) == len(ITEMS) - len(done.counts), "each item is encoded once"


def test_a_foreign_file_in_the_cache_is_named(tmp_path):
    small.save_codec(tmp_path / "x.safetensors", small.audio_codec())
    with pytest.raises(ValueError, match="x.safetensors is not a file of this cache; delete it"):
        Shards(tmp_path).read()


def test_no_clip_left_is_one_line(pair, videos, tmp_path):
    for path in videos.iterdir():
        if path.stem in ("3", "silent"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="has no clip to train on \\(skipped 2: .*1 × has no audio.*; use other videos"):
        prepare(pair, tmp_path, tmp_path / "cache")


def test_what_an_encoder_gives_at_padding_is_kept_for_the_longest_prompt_of_a_batch(tmp_path):
    """As TangoFlux needs it, whose training pads a batch to at most 64 tokens."""
    text = Condition(torch.randn(1, 5, 3), torch.ones(1, 5, dtype=torch.bool), padding=torch.randn(1, 500, 3))

    class Model:
        conditioner = torch.nn.Module()

        def encode(self, *prompts, shape):
            return AVCondition(replace(text, padding=None), text)

    shards = encode_prompts(Model(), {("a", "b")}, None, tmp_path)
    tensors = shards.tensors(_prompt_key(("a", "b")))
    video, audio = (_read_condition(sub_tensors(tensors, stream)) for stream in ("video", "audio"))
    assert video.padding is None and torch.equal(audio.padding, text.padding[:, :59])
    assert torch.equal(audio.padded(9).tokens, torch.cat([text.tokens, text.padding[:, :4]], 1))
