"""Entries of two conditionings are paired so that each stream keeps its own times and strengths."""

import pytest

from duet_av.nodes.native.pair_prompts import check_same_times, pair_entries, percents, sigma_times


def entry(name: str, start: float = 0.0, end: float = 1.0, **others) -> dict:
    return {"name": name, "start_percent": start, "end_percent": end, **others}


def paired(video: list, audio: list) -> list:
    return [(v["name"], a["name"], times, strength) for v, a, times, strength in pair_entries(video, audio, percents)]


def test_entries_of_equal_times_are_paired_in_order():
    video = [entry("a", 0, 0.5), entry("b", 0.5, 1), entry("c", strength=0.5)]
    audio = [entry("x", 0, 0.5), entry("y", 0.5, 1), entry("z", strength=0.5)]
    assert paired(video, audio) == [("a", "x", (0, 0.5), 1), ("b", "y", (0.5, 1), 1), ("c", "z", (0, 1), 0.5)]


def test_entries_of_other_times_are_paired_where_both_are_active():
    video, audio = [entry("a", 0, 0.5), entry("b", 0.5, 1)], [entry("x", 0, 0.3), entry("y", 0.3, 1)]
    assert paired(video, audio) == [("a", "x", (0, 0.3), 1), ("a", "y", (0.3, 0.5), 1), ("b", "y", (0.5, 1), 1)]


def test_each_stream_keeps_its_average():
    video = [entry("a"), entry("b", strength=0.25)]
    audio = [entry("x", strength=2.0), entry("y"), entry("z", strength=0.5)]
    pairs = paired(video, audio)
    for names, index in (("ab", 0), ("xyz", 1)):
        weights = [sum(strength for *both, _, strength in pairs if both[index] == name) for name in names]
        given = [each.get("strength", 1.0) for each in (video, audio)[index]]
        assert [each / sum(weights) for each in weights] == pytest.approx([each / sum(given) for each in given])


def test_a_hook_schedule_limits_the_times_too():
    assert percents(entry("a", 0.1, 0.9, clip_start_percent=0.0, clip_end_percent=0.5)) == (0.1, 0.5)


def test_processed_entries_have_their_times_as_sigmas():
    early, late = {"timestep_start": 9e9, "timestep_end": 0.6}, {"timestep_start": 0.6, "timestep_end": 0.0}
    pairs = pair_entries([early, late], [{}], sigma_times)
    assert [tuple(-time for time in pair.times) for pair in pairs] == [(9e9, 0.6), (0.6, 0.0)]


@pytest.mark.parametrize("video, audio, message", [
    ([(0, 1)], [(0, 0.5)], "audio has no prompt from 0.5 to 1 of the run, and video has one"),
    ([(0.25, 1)], [(0, 1)], "video has no prompt from 0 to 0.25 of the run, and audio has one"),
    ([(0, 1)], [(0, 0.4), (0.6, 1)], "audio has no prompt from 0.4 to 0.6 of the run"),
])  # fmt: skip
def test_times_that_only_one_of_them_covers_are_refused(video, audio, message):
    with pytest.raises(ValueError, match=message):
        check_same_times(*([entry("", *times) for times in each] for each in (video, audio)))


def test_the_gaps_that_nodes_leave_when_they_split_times_are_none():
    check_same_times([entry("")], [entry("", 0, 0.5 - 1e-5), entry("", 0.5, 1)])
