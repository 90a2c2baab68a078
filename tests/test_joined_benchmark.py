"""The tables of the benchmark of joined models."""

from duet_av.benchmarks.joined_models import costs, exactness, figure, name_of, samplers


def test_a_difference_is_0_only_if_there_is_none():
    assert [figure(each) for each in (0.0, 2.14e-6, 1e-12, 0.02, 2.8)] == ["0", "2e-6", "1e-12", "2e-2", "3"]


def test_a_check_that_a_pair_does_not_have_is_a_dash():
    pairs = {"svd + ace_step": {"Euler": [0, 1e-6]}, "wan21 + ace_step": {"Euler": [0, 0], "batch 2": [0, 3e-7]}}
    assert list(exactness(pairs))[2:] == [
        "| Stable Video Diffusion + ACE-Step 1 | 0, 1e-6 | – |", "| Wan 2.1 + ACE-Step 1 | 0, 0 | 0, 3e-7 |",
    ]  # fmt: skip


def test_a_row_of_samplers():
    assert list(samplers({"heun": [0, 0, 0, 0.02, 0]})) == ["| `heun` | 0, 0 | 0 | 2e-2 | 0 |"]


def test_the_cost_of_a_joined_run_is_its_ratio_to_both_runs():
    wide = {"joined": [2.02, 2.02, 2.02], "video": [1.5, 1.5, 1.5], "audio": [0.5, 0.5, 0.5]}
    small = {"joined": [0.3, 0.3, 0.3], "video": [0.2, 0.2, 0.2], "audio": [0.08, 0.08, 0.08]}
    (row,) = costs({"wan21+ace_step_15": {"wide": wide, "small": small}})
    assert row == "| Wan 2.1 + ACE-Step 1.5 | 1.00 s | 1.01 [1.01, 1.01], aim 1.02 reached | 1.0 ms |"


def test_pairs_are_called_as_users_call_them():
    assert name_of("wan22_5b + stable_audio") == "Wan 2.2 5B + Stable Audio 1"
