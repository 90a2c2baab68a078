"""What the benchmark of ComfyUI's joint models writes."""

from duet_av.benchmarks.native import PAGE, ROWS, section, table
from duet_av.benchmarks.ratios import END, START, cell, ratio_of, replace_section

COSTS = {"basic": 1.0, "dual": 1.5, "modality": 2.0, "modality_stg": 3.0, "peer": 3.0, "peer_stg": 4.0, "dual_pp": 1.5}


def case(seconds: float) -> dict:
    return {"calls": 1.0, "rows": 2.0, "cpu": [seconds] * 4, "wall": [2 * seconds] * 4}


CASES = {row.case: case(1.2) for row in ROWS} | {name: case(seconds) for name, seconds in COSTS.items()}


def row_of(name: str) -> list[str]:
    (line,) = (line for line in table(CASES, "cpu") if line.startswith(f"| {name} |"))
    return [each.strip() for each in line.strip("|").split("|")]


def test_a_ratio_is_that_of_runs_of_one_round():
    assert ratio_of([1.0, 20.0, 3.0], [2.0, 40.0, 6.0]) == (0.5, 0.5, 0.5)


def test_an_aim_is_reached_to_two_digits():
    assert cell((0.654, 0.6, 0.7), 0.65) == "0.65 [0.60, 0.70], aim 0.65 reached"
    assert cell((0.656, 0.6, 0.7), 0.65) == "0.66 [0.60, 0.70], aim 0.65"


def test_a_row_is_compared_with_guiders_of_equal_settings():
    assert row_of("`joint_cfg`")[1:] == [
        "1", "2", "1.20 [1.20, 1.20]", "0.80 [0.80, 0.80], aim 1.00 reached",
        "0.60 [0.60, 0.60], aim 0.65 reached", "0.40 [0.40, 0.40], aim 0.60 reached",
    ]  # fmt: skip
    skipped = row_of("`modality_cfg`, skipped block")
    assert skipped[4:] == ["–", "0.40 [0.40, 0.40], aim 0.85 reached", "0.30 [0.30, 0.30], aim 0.85 reached"]


def test_a_page_keeps_what_is_around_the_section():
    once = replace_section(PAGE, "first\n")
    assert once == f"{PAGE}\n{START}\nfirst\n{END}\n"
    assert replace_section(f"{once}\n## More\n", "second") == f"{PAGE}\n{START}\nsecond\n{END}\n## More\n"


def test_the_section_says_what_was_measured():
    ltx = {"cross_attention_dim": 64, "audio_cross_attention_dim": 32, "num_layers": 2}
    small = {"facts": {"network": ltx, "latents": [[1, 128, 2, 3, 4], [1, 8, 5, 16]]}, "cases": CASES}
    network = {"hidden_size": 64, "num_layers": 1}
    h3 = {
        "facts": {"network": network, "latents": [[1, 24, 2, 4, 4], [1, 32, 2, 5]], "texts": [6, 6], "steps": 1},
        "cases": {"coupled": case(2.0), "cut": case(1.0), "masked": case(4.0)},
    }
    facts = {"commit": "a", "comfyui": "b", "ltxvideo": "c", "runs": 4, "machine": "2 cores", "clock": "CPU"}
    text = section({"small": small, "h3": h3}, "cpu", facts)
    assert "LTX-2, 2 layers, widths 64 and 32, 24 video and 5 audio tokens" in text
    assert "MiniMax-H3, 1 layer, width 64, 24 tokens" in text and "A coupled pass takes 2.0 s" in text
    assert "own copy of the text | 0.50 [0.50, 0.50] |" in text and "{" not in text
