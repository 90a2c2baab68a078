"""Checkpoints of strangers: any model card gives a model, or one line that names the file and the field."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from duet_av.av_models.build_from_card import Allowance
from duet_av.av_models.checkpoint import CARD, read_card
from duet_av.av_models.load_parts import codec_files, load_codec, load_expert
from duet_av.bounce.binder import load_binder
from duet_av.bounce.shipped import load_joint_model
from duet_av.commands import main
from duet_av.nodes.load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from duet_av.tests import small

LOADERS = {
    "avfulldit": load_joint_model, "jointdit": load_joint_model, "video_expert": load_expert, "audio_expert": load_expert,
    "video": load_codec, "audio": load_codec, "binder": load_binder,
}  # fmt: skip
EACH = 36  # mutations of each kind: 252 in all
VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 10**7, 10**9, 2**63, 10**30, -(10**9), 0.5, 1e300, float("nan"), float("inf"), "", "x", "0",
    "a\nb", "\x1b[2J\x1b]0;t\x07", "../x", "/etc/passwd", "C:\\x", "a" * 10**5, [], [1], [1, 2, 3], [[]], [None], ["a", 1], {},
    {"a": 1}, {"config": []}, [0] * 10**4, [-1, -1], {"video": 1, "audio": 2},
]  # fmt: skip
TEXTS = [
    "[]", "null", "3", '"x"', "true", "{", "", "{}", "[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000,
    '{"clip": NaN}', "[" * 50 + "]" * 50, '{"a":' * 50 + "1" + "}" * 50,
    '{"kind": 1' + "0" * 5000 + "}", "\ud800".encode("utf-8", "replace").decode(),
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cards")
    found = {kind: small.save_expert(folder, kind) for kind in ("video_expert", "audio_expert")}
    found |= {"avfulldit": small.save_joint(folder), "jointdit": small.save_jointdit(folder), "binder": small.save_binder(folder)}
    return found | {name: folder / f"{name}.safetensors" for name in ("video", "audio")}


@pytest.fixture
def beside(files, tmp_path):
    """Writes a file with the tensors of a kind and another card, with codecs beside it."""

    def write(kind: str, text: str) -> Path:
        for name in ("video", "audio"):
            shutil.copy(files[name], tmp_path / f"{name}.safetensors")
        save_file(load_file(files[kind]), tmp_path / "x.safetensors", metadata={CARD: text})
        return tmp_path / "x.safetensors"

    return write


def card_of(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[CARD])


def one_line(error: Exception, path: Path) -> None:
    message = str(error)
    assert isinstance(error, (ValueError, FileNotFoundError)) and str(path.parent) in message, repr(error)
    assert len(message.splitlines()) == 1 and message.isprintable() and "; " in message and len(message) < 800, message


def places(value, where=()):
    """All places in a card, as tuples of keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*where, key)
        yield from places(each, (*where, key))


def mutated(card: dict, rng: random.Random) -> dict:
    card = json.loads(json.dumps(card))
    for _ in range(rng.choice([1, 1, 1, 2])):
        where = rng.choice(list(places(card)))
        inner = card
        for key in where[:-1]:
            inner = inner[key]
        action = rng.random()
        if action < 0.2:
            del inner[where[-1]]
        elif action < 0.3 and isinstance(inner, dict):
            inner["another"] = copy.deepcopy(rng.choice(VALUES))
        else:
            inner[where[-1]] = copy.deepcopy(rng.choice(VALUES))
    return card


@pytest.mark.parametrize("kind", LOADERS)
def test_a_changed_card_gives_a_model_or_one_line(beside, files, kind):
    rng, card, refused = random.Random(kind), card_of(files[kind]), 0
    for _ in range(EACH):
        changed = mutated(card, rng)
        path = beside(kind, json.dumps(changed))
        start = time.monotonic()
        try:
            LOADERS[kind](path)
        except Exception as error:
            one_line(error, path)
            refused += 1
        assert time.monotonic() - start < 10, changed
        codec_files(path)
    assert refused > EACH / 3


@pytest.mark.parametrize("kind", LOADERS)
def test_a_card_that_is_no_table_is_one_line(beside, kind):
    for text in TEXTS:
        path = beside(kind, text)
        with pytest.raises(ValueError) as error:
            LOADERS[kind](path)
        one_line(error.value, path)
        assert codec_files(path) == []


def test_every_missing_field_is_one_line_or_not_needed(beside, files):
    card = card_of(files["avfulldit"])
    for where in [place for place in places(card) if all(isinstance(key, str) for key in place) and "config" not in place[:-1]]:
        changed = json.loads(json.dumps(card))
        inner = changed
        for key in where[:-1]:
            inner = inner[key]
        del inner[where[-1]]
        path = beside("avfulldit", json.dumps(changed))
        try:
            load_joint_model(path)
        except ValueError as error:
            one_line(error, path)


@pytest.mark.parametrize("node, kind", [(DuetLoadVideoExpert, "video_expert"), (DuetLoadAudioExpert, "audio_expert")])
def test_the_expert_nodes_report_a_model_or_one_line(beside, files, kind, node, monkeypatch):
    rng, card = random.Random(3), card_of(files[kind])
    monkeypatch.setattr("duet_av.nodes.load_expert.expert_path", lambda name, kind: Path(name))
    for _ in range(60):
        path = beside(kind, json.dumps(mutated(card, rng)))
        try:
            assert node.execute(str(path)).ui["text"][0].isprintable()
        except Exception as error:
            one_line(error, path)


def test_changed_bytes_give_a_model_or_one_line(files, tmp_path):
    rng = random.Random(5)
    for name in ("video", "audio"):
        shutil.copy(files[name], tmp_path / f"{name}.safetensors")
    content, path = files["avfulldit"].read_bytes(), tmp_path / "x.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 3])):
            changed[rng.randrange(rng.choice([8, header, len(content)]))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            load_joint_model(path)
        except Exception as error:
            one_line(error, path)


def test_a_list_of_tensors_without_end_is_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((40 * 10**6).to_bytes(8, "little"))
        file.truncate(50 * 10**6)
    with pytest.raises(ValueError) as error:
        read_card(path)
    one_line(error.value, path)


def test_info_shows_any_card_without_control_characters(beside, files, capsys):
    rng = random.Random(4)
    for kind in ("avfulldit", "binder"):
        for _ in range(30):
            path = beside(kind, json.dumps(mutated(card_of(files[kind]), rng)))
            code = main(["info", str(path)])
            shown = capsys.readouterr()
            assert (shown.out if code == 0 else shown.err).replace("\n", "").isprintable()
            assert code == 0 or len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["../video.safetensors", "/etc/passwd", "a/b", "a\\b", "C:x", "..", "", "a\0b", 5, None, ["x"]])
def test_codecs_are_files_in_the_same_folder(beside, files, name):
    card = card_of(files["avfulldit"])
    card["codecs"]["video"] = name
    path = beside("avfulldit", json.dumps(card))
    with pytest.raises(ValueError, match="field codecs.video is .*; use the name of a file in the same folder"):
        load_joint_model(path)
    assert codec_files(path) == []


@pytest.mark.parametrize("field, value, remedy", [
    (("clip", "fps"), float("nan"), "finite"),
    (("clip", "frames"), 10**6 + 1, "use a whole number from 1 to 1000000"),
    (("clip",), {"frames": 10**6, "height": 4096, "width": 4096, "fps": 24}, "no memory"),
    (("trained",), "yes", "use true or false"),
    (("name",), "a\nb", "use one line of text"),
    (("video", "text", "vocabulary"), ["\x1b[2J"], "use a list of words"),
    (("audio", "rope_scale"), "x", "use a number from 0 to 1000"),
])  # fmt: skip
def test_the_field_and_the_remedy_are_named(beside, files, field, value, remedy):
    card = inner = card_of(files["avfulldit"])
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    path = beside("avfulldit", json.dumps(card))
    with pytest.raises(ValueError, match=f"field {'.'.join(field)} is .*({remedy})"):
        load_joint_model(path)


def test_names_and_licences_are_shown_without_control_characters(beside, files):
    card = card_of(files["avfulldit"]) | {"name": "\x1b[31mRed\x1b[0m\u202etxt", "licence": "MIT\x07"}
    path = beside("avfulldit", json.dumps(card))
    assert load_joint_model(path).name == "Red txt" and read_card(path)["licence"] == "MIT"


def test_of_two_equal_keys_the_last_one_counts(beside, files):
    text = json.dumps(card_of(files["avfulldit"]))
    assert load_joint_model(beside("avfulldit", text[:-1] + ', "name": "Second"}')).name == "Second"


def test_loading_leaves_the_random_state(files):
    before = torch.get_rng_state()
    for kind, load in LOADERS.items():
        load(files[kind])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("tensors", range(12))
def test_a_constructor_that_is_stopped_leaves_gradients_on(tensors):
    with pytest.raises(ValueError, match="many more layers"), torch.device("meta"), Allowance({}) as allowance:
        allowance.calls = tensors
        torch.nn.Sequential(*(torch.nn.LayerNorm(2) for _ in range(9)))
    assert torch.is_grad_enabled()


MEMORY = """
import json, os, resource, sys
from pathlib import Path
import duet_av.av_models.codecs.oobleck, duet_av.av_models.codecs.wan_vae, duet_av.tests.test_strange_cards as cards
from duet_av.tests import small
for kind, path, text in json.loads(sys.stdin.read()):
    path = Path(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cards.save_file(cards.load_file(path), path.with_name("x.safetensors"), metadata={cards.CARD: text})
    try:
        cards.LOADERS[kind](path.with_name("x.safetensors"))
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    else:
        message = "loaded"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([message, grown]))
"""


def test_memory_while_loading_stays_in_the_size_of_the_file(files):
    """In a process of its own, that may have no more than a few GB."""
    video = card_of(files["video_expert"])
    cases = [
        ("video_expert", ["config", "ffn_dim", 10**7]), ("video_expert", ["config", "num_layers", 10**9]),
        ("video_expert", ["config", "rope_max_seq_len", 10**9]), ("video_expert", ["config", "rope_max_seq_len", 10**6]),
        ("video_expert", ["config", "freq_dim", 10**9]), ("video_expert", ["text", "layers", 1000]),
        ("video_expert", ["text", "width", 10**7]), ("video_expert", ["text", "length", 4096]),
        ("audio_expert", ["config", "num_single_layers", 10**9]), ("audio_expert", ["config", "joint_attention_dim", 10**9]),
        ("audio_expert", ["config", "num_attention_heads", 10**7]), ("avfulldit", ["joint_blocks", 10**9]),
        ("avfulldit", ["clip", "frames", 10**9]), ("jointdit", ["joint", "qk_width", 10**7]),
        ("jointdit", ["video", "config", "layers_per_block", 10**9]), ("jointdit", ["picture", "width", 10**7]),
        ("jointdit", ["audio", "config", "attention_head_dim", 10**9]), ("jointdit", ["audio", "text_width", 10**9]),
        ("video", ["config", "coarse", 10**8]), ("video", ["config", "channels", 10**9]),
        ("audio", ["config", "width", 10**8]), ("audio", ["config", "sample_rate", 10**9]),
        ("binder", ["config", "width", 10**8]), ("binder", ["config", "out", 10**9]),
    ]  # fmt: skip
    cards = []
    for kind, (*where, value) in cases:
        card = inner = card_of(files[kind])
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = value
        cards.append((kind, json.dumps(card)))
    big = 10**9
    cards += [
        ("video", json.dumps({"architecture": "WanCodec", "config": {"base_dim": big}})),
        ("video", json.dumps({"architecture": "WanCodec", "config": {"num_res_blocks": big}})),
        ("video", json.dumps({"architecture": "WanCodec", "config": {"z_dim": big}})),
        ("audio", json.dumps({"architecture": "OobleckCodec", "config": {"encoder_hidden_size": big}})),
        ("audio", json.dumps({"architecture": "OobleckCodec", "config": {"downsampling_ratios": [2] * 10**5}})),
        ("audio", json.dumps({"architecture": "OobleckCodec", "config": {"channel_multiples": [10**9] * 5}})),
        ("video_expert", json.dumps(video | {"text": video["text"] | {"vocabulary": ["a"] * 10**6}})),
        ("video_expert", json.dumps(video | {"more": [[]] * 10**7})),
    ]
    result = subprocess.run(
        [sys.executable, "-c", MEMORY],
        input=json.dumps([[kind, str(files[kind]), text] for kind, text in cards]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    for card, line in zip(cards, result.stdout.splitlines(), strict=True):
        message, grown = json.loads(line)
        assert message != "loaded" and "x.safetensors" in message and "\n" not in message, (card[0], message)
        assert grown < 300 * 1024, (card[0], card[1][:300], message, grown)
