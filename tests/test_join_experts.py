"""Nodes that load experts and join them."""

import pytest

from duet_av.nodes.join_experts import DuetJoinExperts
from duet_av.nodes.load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from duet_av.nodes.load_joint_model import DuetLoadJointModel
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests import small

CODECS = {"video_codec": "video.safetensors", "audio_codec": "audio.safetensors"}


@pytest.fixture
def models(tmp_path):
    """The user's folder of model files, with a small pair of experts and their codecs in it."""
    folder = tmp_path / "duet"
    folder.mkdir()
    for kind in ("video_expert", "audio_expert"):
        small.save_expert(folder, kind)
    small.save_codec(folder / CODECS["video_codec"], small.video_codec())
    small.save_codec(folder / CODECS["audio_codec"], small.audio_codec())
    token = session.set(Session(Folders(models=tmp_path)))
    yield folder
    session.reset(token)


def experts():
    video, audio = DuetLoadVideoExpert.execute("video_expert.safetensors"), DuetLoadAudioExpert.execute("audio_expert.safetensors")
    return video.args[0], audio.args[0]


def joined(blocks=2, **codecs):
    return DuetJoinExperts.execute(*experts(), blocks, **CODECS | codecs)


def test_a_pair_of_files_becomes_an_untrained_model_and_says_so(models):
    output = joined()
    model = output.args[0]
    assert model.name == "video_expert + audio_expert" and model.denoiser.joint_blocks == 2 and not model.trained
    assert "untrained" in output.shown["text"][1] and output.shown["duet"][0]["trained"] is False


def test_the_clip_is_as_the_video_experts_card_says_else_as_bounces(models):
    assert joined().args[0].clip.width == 64
    small.save_expert(models, "video_expert", clip={"frames": 8, "height": 32, "width": 48, "fps": 16})
    assert joined().args[0].clip.width == 48


def test_bounces_experts_come_with_the_pack():
    video, audio = DuetLoadVideoExpert.execute("Bounce"), DuetLoadAudioExpert.execute("Bounce")
    assert video.shown["duet"] == [{"expert": "video_expert", "blocks": 6, "heads": 6, "head_size": 32, "warnings": []}]
    model = DuetJoinExperts.execute(video.args[0], audio.args[0], 2, "Bounce", "Bounce").args[0]
    assert model.denoiser.joint_blocks == 2 and model.clip.frames == 32


def test_the_hearing_studys_pair_comes_with_the_pack():
    video = DuetLoadVideoExpert.execute("Hearing study T2V")
    assert video.shown["duet"] == [{"expert": "hearing_t2v", "blocks": 6, "heads": 6, "head_size": 32, "warnings": []}]
    joint = DuetLoadJointModel.execute("Hearing study T2AV")
    assert joint.shown["duet"] == [{"model": "Hearing study t2av_1", "trained": True, "warnings": []}]
    assert "Hearing study T2V" not in DuetLoadAudioExpert.GET_NODE_INFO_V1()["input"]["required"]["expert"][1]["options"]


def test_a_pair_is_joined_once_while_it_is_held(models):
    held = joined().args[0]
    assert joined().args[0] is held and joined(blocks=3).args[0] is not held
    small.save_codec(models / CODECS["video_codec"], small.video_codec())
    assert joined().args[0] is not held


def test_a_changed_file_is_noticed(models):
    before = DuetLoadVideoExpert.fingerprint_inputs("video_expert.safetensors"), DuetJoinExperts.fingerprint_inputs(**CODECS)
    (models / "video_expert.safetensors").write_bytes(b"1")
    (models / CODECS["audio_codec"]).write_bytes(b"1")
    assert DuetLoadVideoExpert.fingerprint_inputs("video_expert.safetensors") != before[0]
    assert DuetJoinExperts.fingerprint_inputs(**CODECS, video_expert=None, audio_expert=None, joint_blocks=2) != before[1]


def test_a_missing_file_is_named_before_anything_runs():
    assert "gone.safetensors" in DuetLoadAudioExpert.validate_inputs("gone.safetensors")
    assert "gone.safetensors" in DuetJoinExperts.validate_inputs("Bounce", "gone.safetensors")
    assert DuetJoinExperts.validate_inputs("Bounce", "Bounce") is True and DuetJoinExperts.validate_inputs() is True


def refused(run, *words):
    with pytest.raises(ValueError) as error:
        run()
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)


def test_an_expert_of_the_other_kind_is_refused(models):
    refused(lambda: DuetLoadVideoExpert.execute("audio_expert.safetensors"), "an audio model", "use Load Audio Expert")


@pytest.mark.parametrize("name, words", [
    ("deep", ["joint_blocks is 9", "1 to 4"]),
    ("codec", ["video.safetensors", "not for audio"]),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(models, name, words):
    changes = {"deep": {"blocks": 9}, "codec": {"audio_codec": CODECS["video_codec"]}}
    refused(lambda: joined(**changes[name]), *words)


def test_a_codec_of_other_channels_names_the_expert_it_does_not_fit(models):
    refused(lambda: joined(audio_codec="Bounce"), "audio_expert.safetensors denoises 6 audio channels", "has 32")
