"""What the guidance must know of a joint model that ComfyUI runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from comfy.model_patcher import ModelPatcher

from ....av_models.contract import CouplingKind
from ....av_models.guidance import Branch, Guidance
from ..pair_prompts import Entry
from ..run_keys import GUIDANCE_KEY

ROW_FIELDS = ("coupling", "skip_block")  # in which rows can differ, besides their prompts


class NativeModel(ABC):
    """The adapter of one of ComfyUI's joint models.

    name: for messages. kinds: the supported couplings. own_skip_block: the block that skip guidance skips by default.
    skippable: the number of blocks. runs_without_audio: whether it takes a latent of video alone.
    takes_joined_prompts: whether it takes the prompts of a model from Join Models.
    stream_sizes: the sizes of the video's and the audio's latent, without the batch; None: any.
    text_widths: the widths of the tokens of a prompt that it takes.
    one_call: whether one network call can hold rows of different coupling or skipped blocks. Its rows then also have
        directional coupling strengths; for other models, the predictions of a full and a cut row are mixed.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[CouplingKind]]
    own_skip_block: ClassVar[int] = 3
    runs_without_audio: ClassVar[bool] = False
    takes_joined_prompts: ClassVar[bool] = False
    one_call: ClassVar[bool] = False
    skippable: int
    stream_sizes: tuple[Sequence[int | None], Sequence[int | None]]
    text_widths: Collection[int]

    @abstractmethod
    def __init__(self, model: Any) -> None:
        """model: ComfyUI's `BaseModel`."""

    @abstractmethod
    def count_calls(self, entries: Sequence[Entry]) -> int:
        """Returns the number of network calls for rows with these entries, if memory is not short."""

    @abstractmethod
    def set_rows(self, options: dict[str, Any], rows: Sequence[Branch | None]) -> None:
        """Changes model options so that the network runs a call's rows with their couplings and skipped blocks.

        rows: one for each conditioning of the call, in that order (None: the call has no such conditioning), or a single one for
            all of them. Only models with `one_call` get rows that differ.
        """

    def times(self, sigma: float, transformer_options: Mapping[str, Any]) -> tuple[float, float]:
        """Returns the times of video and audio, 0 (clean) to 1 (noise), at the sampler's σ.

        At time t a stream is x = (1 − t) x_0 + t ε, which is t / σ times what the sampler carries.
        """
        return sigma, sigma

    def sigma_at(self, time: float) -> float:
        """Returns the sampler's σ at a time of the video below 1."""
        return time

    def audio_scale(self) -> float:
        """Returns the factor by which ComfyUI carries the audio's clean estimate."""
        return 1.0

    @abstractmethod
    def frame_rate(self, entries: Iterable[Entry]) -> float:
        """Returns the frames per second of a clip with prompts of these entries."""

    def limit(self, conds: Sequence[Entry], video: bool, audio: bool) -> Sequence[Entry]:
        """Returns a processed conditioning for the streams that are needed, if the model can make one without the other."""
        return conds

    def simplify(self, strategy: Guidance) -> Guidance:
        """Returns a strategy with the same result on this model that needs no more rows."""
        return strategy

    def describe_changes(self, strategy: Guidance) -> list[str]:
        """Returns lines for the report that say how a strategy or its cost differs on this model, or none."""
        return []

    def add_bad_model(self, guider: Any, bad: ModelPatcher | None) -> dict[str, Any]:
        """Has ComfyUI load the bad model of autoguidance in the guider's run, which is about to begin. None: it needs none.

        Returns what its calls need in `transformer_options`.
        """
        guider.model_patcher.set_additional_models(GUIDANCE_KEY, [] if bad is None else [bad])
        return {}

    def apart_by(self, patcher: ModelPatcher) -> tuple[Sequence[str], str]:
        """Returns the fields of `Branch` in which the rows of one call must agree with the patches of a MODEL, and why."""
        return ((), "") if self.one_call else (ROW_FIELDS, f"{self.name} runs one branch at a time")

    def join_prompts(self, video: Sequence[Entry], audio: Sequence[Entry]) -> list[dict[str, Any]]:
        """Returns a processed conditioning with the video's prompt of one and the audio's of another.

        Raises ValueError if the model has one prompt for both.
        """
        raise ValueError(f"this guidance has different prompts for video and audio, and {self.name} only takes one; choose another")
