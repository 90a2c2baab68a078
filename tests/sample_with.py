"""`sample` with its settings in one call, for tests."""

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.sampling import RunOptions, SampleResult, sample
from duet_av.av_models.schedule import SamplingSchedule

OPTIONS = ("batch_branches", "on_step", "check_interrupt")
PARTS = ("bad_model", "known", "alignment")


def sample_with(model, start, positive, negative, guidance, *, video_seed=0, audio_seed=0, **settings) -> SampleResult:
    """`settings`: those of `SamplingSchedule`, of `RunOptions`, and what else `sample` takes."""
    options = RunOptions(**{name: settings.pop(name) for name in OPTIONS if name in settings})
    parts = {name: settings.pop(name) for name in PARTS if name in settings}
    noise = NoiseSource(start, video_seed, audio_seed)
    return sample(PromptedModel(model, positive, negative), noise, guidance, SamplingSchedule(**settings), options=options, **parts)
