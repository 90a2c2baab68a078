"""The looping picture of clips and their sound."""

from fractions import Fraction

import pytest
import torch
from PIL import Image

from duet_av.av_models.media import Clip
from duet_av.bounce.measure import moving_sheet
from duet_av.bounce.measure.moving_sheet import CARD, GAP, GROUND, LABEL, TILE


def clip(frames: int, height: int, width: int) -> Clip:
    pixels = torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8)
    return Clip(pixels, Fraction(16), torch.rand(1, 1000 * frames) - 0.5, 16_000, {})


def test_it_has_a_picture_for_each_frame_of_the_shortest_clip():
    sheets = moving_sheet.draw_moving_sheet([clip(6, 32, 32), clip(4, 32, 48)], ["a", "b"])
    assert len(sheets) == 4 and {sheet.width for sheet in sheets} == {2 * TILE + GAP}
    assert sheets[0].tobytes() != sheets[1].tobytes()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no sound"):
        moving_sheet.draw_moving_sheet([clip(4, 32, 32)._replace(audio=None)], ["a"])
    with pytest.raises(ValueError):
        moving_sheet.draw_moving_sheet([clip(4, 32, 32)], [])


def test_the_command_writes_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(moving_sheet, "read_video", lambda path: clip(4, 32, 32))
    moving_sheet.main(["a.mp4", "b.mp4", "--out", str(tmp_path / "clips.webp")])
    with Image.open(tmp_path / "clips.webp") as picture:
        assert picture.n_frames == 4


def test_a_card_is_a_square_with_an_empty_top():
    cards = moving_sheet.draw_card([clip(6, 32, 32), clip(4, 32, 48), clip(5, 32, 32)], ["a", "b", "c"])
    assert len(cards) == 4 and {card.size for card in cards} == {(CARD, CARD)}
    assert cards[0].crop((0, 0, CARD, LABEL)).getcolors() == [(CARD * LABEL, GROUND)]
    assert cards[0].tobytes() != cards[1].tobytes()


def test_the_command_writes_a_moving_card_under_any_name(tmp_path, monkeypatch):
    monkeypatch.setattr(moving_sheet, "read_video", lambda path: clip(4, 32, 32))
    moving_sheet.main(["a.mp4", "--card", "--out", str(tmp_path / "card.jpg")])
    with Image.open(tmp_path / "card.jpg") as picture:
        assert picture.format == "WEBP" and picture.n_frames == 4 and picture.size == (CARD, CARD)
