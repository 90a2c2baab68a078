"""Makes several takes of a clip and passes the best one on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from .agreement_inputs import BinderNode, binder_input
from .encode_prompts import empty_prompts
from .host import io, report_text
from .kept_clips import begin_run, raised_seed, take_last_run
from .latents import STORAGE_DEVICE, clip_shape, latent_dict, unpack_latent
from .live_preview import step_reporter
from .model_cache import NONE
from .own_settings import resolve_settings
from .run_sampler import Settings, model_warnings, sample_latent, settings_inputs
from .sockets import AlignerSocket, GuidanceSocket, JointModelSocket, PromptsSocket
from .take_report import AUDIO_SEED, BOTH_SEEDS, reused_takes, show_takes, take_outputs, takes_inputs, weight_inputs
from .takes import ModelDecoder, Question, Take, Takes, take_keys


class DuetBestTake(BinderNode):
    """Samples takes with different seeds, scores each, and passes the best one on. Takes are kept for the next run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetBestTake",
            display_name="Best Take",
            category="Duet/make",
            description="Generates several takes with different seeds, such as eight sounds for one video, and passes the best one "
            "on. Takes are scored by sync, by a binder, and by the health of the audio.",
            search_aliases=["duet", "best of n", "batch seeds", "reroll", "pick best", "foley", "sound", "rank"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The joint model that generates the takes."),
                PromptsSocket.Input(
                    "prompts", optional=True,
                    tooltip="From Prompts for Video and Audio. Not connected: video and audio can be anything.",
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="From Empty Video + Audio or Encode Video + Audio, with one clip. With a kept video, all takes have "
                    "that video.",
                ),
                GuidanceSocket.Input(
                    "guidance", optional=True,
                    tooltip="From Guidance or Guidance Modifiers. Not connected: as the model recommends.",
                ),
                *takes_inputs(),
                *settings_inputs(),
                AlignerSocket.Input(
                    "aligner", optional=True,
                    tooltip="Pulls video and audio together when the model generates them independently.",
                ),
                binder_input("Also scores how well the content of video, audio and prompts matches."),
                *weight_inputs(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=take_outputs(),
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, model, prompts=None, latent=None, guidance=None, aligner=None, **others) -> io.NodeOutput:
        from ..av_models.takes import Ranking

        own = {each.name: others.pop(each.name) for each in fields(Choices) if each.name in others}
        choices, (settings, (guidance,), taken) = Choices(**own), resolve_settings(model, Settings(**others), [guidance])
        prompts, node_id, shape = prompts or empty_prompts(model), cls.hidden.unique_id, clip_shape(latent, model)
        if unpack_latent(latent).rows != 1:
            raise ValueError(f"latent holds {unpack_latent(latent).rows} clips; use a batch of 1")
        each = [_take_settings(settings, number, choices.vary) for number in range(choices.takes)]
        keys, last = take_keys(model, prompts, latent, guidance, each, aligner), take_last_run(node_id)
        kept = begin_run(model.networks, node_id, {key: last[key] for key in keys if key in last})
        reused, said = reused_takes(list(kept), choices.takes), model_warnings(model)
        decoder, question = ModelDecoder(model, shape, said.append), Question(choices.binder, prompts.words[0])
        made = Takes(decoder, kept, keys, question, Ranking(choices.sync_weight, choices.agreement_weight))

        def sample(number: int, run: int, runs: int) -> Take:
            report_text(f"take {number + 1} of {choices.takes}", node_id)
            progress = step_reporter(model, shape, node_id, run, runs)
            result = sample_latent(model, prompts, latent, guidance, each[number], node_id, progress, aligner)
            return Take.of(latent_dict(result.latent.to(STORAGE_DEVICE), shape), result)

        order = made.make(sample)
        notes = [f"{settings.steps} steps with {guidance.strategy.name}", *reused, *taken]
        return show_takes(cls, made, order, [(one.video_seed, one.audio_seed) for one in each], notes, said)


@dataclass(frozen=True)
class Choices:
    """The values of the inputs that other sampling nodes do not have."""

    takes: int = 8
    vary: str = AUDIO_SEED
    binder: str = NONE
    sync_weight: float = 1.0
    agreement_weight: float = 1.0


def _take_settings(settings: Settings, number: int, vary: str) -> Settings:
    """Returns the settings of take `number`, counting from 0."""
    audio = replace(settings, audio_seed=raised_seed(settings.audio_seed, number))
    return replace(audio, video_seed=raised_seed(settings.video_seed, number)) if vary == BOTH_SEEDS else audio
