"""The clips of a folder of sounding videos as latents and encoded prompts, cached in shards, for training any joint model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..checkpoint import sub_tensors
from ..codecs.base import AudioCodec
from ..contract import AVCondition, AVLatent, Condition
from ..joint_model import JointModel
from ..media.fit import extend_frames
from ..shapes import AVShape
from .clip_folder import ClipFolder, Skipped, VideoFile, read_clips, summarize
from .processes import processes
from .shards import Shards, file_key, files_key, hash_of, module_key

OnClip = Callable[[int, int], None] | None
PADDED = 64  # tokens to which prompts are padded with what their encoder gives at padding, at most; as in TangoFlux's training
VERSION = "2"  # of how clips are cut and encoded; a new one makes new caches


@dataclass(frozen=True)
class TrainingClips:
    """N clips of training, in the order of their files.

    clips, prompts: where the latents and the encoded prompts are.
    places: the item and row of each clip. captions: its captions of video and audio, by row.
    null: the condition of empty prompts, one row. skipped: what was not used, and why.
    """

    clips: Shards
    prompts: Shards
    places: Sequence[tuple[str, int]]
    captions: Sequence[tuple[str, str]]
    null: AVCondition
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def latents(self, rows: Tensor) -> AVLatent:
        """Read the latents of clips, float32 on the CPU: video [B, C, T, H, W], audio [B, C, T] or [B, C, T, F]."""
        found = [self.clips.tensors(*self.places[row]) for row in rows.tolist()]
        return AVLatent(*(torch.stack([each[name].float() for each in found]) for name in ("video", "audio")))

    def conditions(self, rows: Tensor, null: Tensor | None = None) -> AVCondition:
        """Read the encoded prompts of clips; rows whose `null` (bool [B]) is True get the null condition."""
        empty = [False] * len(rows) if null is None else null.tolist()
        return AVCondition.cat([self.null if drop else self._condition(row) for row, drop in zip(rows.tolist(), empty)])

    def _condition(self, row: int) -> AVCondition:
        tensors = self.prompts.tensors(_prompt_key(self.captions[row]))
        return AVCondition(*(_read_condition(sub_tensors(tensors, stream)) for stream in ("video", "audio")))


def prepare_clips(
    model: JointModel,
    folder: ClipFolder,
    shape: AVShape,
    cache: Path,
    prompt_files: Sequence[Path] = (),
    on_clip: OnClip = None,
) -> TrainingClips:
    """Encode the clips of a folder and their prompts with the codecs and text encoders of `model`, or read them from `cache`.

    Each video is cut into consecutive clips of `shape`. Audio has its natural length, also for models that always make a fixed
    one. Processes of `accelerate launch`, and other runs with the same cache, share the work. It continues where a killed process
    stopped. The cache depends on the contents of the codecs, text encoders, and videos, not on their names.

    prompt_files: files of text encoders that `model` has not loaded yet, which the cache of prompts depends on.
    on_clip(done, total): called after each video. Raises ValueError, in one line, if no clip is left.
    """
    state, keys = processes(), {each.name: file_key(each.path) for each in folder.files}
    encoder = _ClipEncoder(model, shape, state.device)
    clips = Shards(cache / f"clips_{encoder.key}")
    with encoder:
        clips.fill({keys[each.name]: each for each in folder.files}, encoder.encode, state.process_index * 7, on_clip)
    used = [each for each in folder.files if keys[each.name] not in clips.skipped]
    skipped = [Skipped(name, clips.skipped[key]) for name, key in keys.items() if key in clips.skipped]
    places = [(keys[each.name], number) for each in used for number in range(clips.counts[keys[each.name]])]
    everything = (*folder.skipped, *skipped)
    if not places:
        raise ValueError(f"{folder.folder} has no clip to train on ({summarize(everything)}); use other videos, or shorter clips")
    captions = [(each.video_caption, each.audio_caption) for each in used for _ in range(clips.counts[keys[each.name]])]
    prompts = encode_prompts(model, {*captions, ("", "")}, shape, cache, prompt_files)
    null = prompts.tensors(_prompt_key(("", "")))
    empty = AVCondition(*(_read_condition(sub_tensors(null, stream)) for stream in ("video", "audio")))
    return TrainingClips(clips, prompts, places, captions, empty, everything)


def natural_length(codec: AudioCodec) -> AudioCodec:
    """Return an audio codec without a fixed number of latent steps: clips have as many as they need."""
    return codec.with_steps(0) if codec.stride.steps and hasattr(codec, "with_steps") else codec


class _ClipEncoder:
    """Encodes the clips of a video with a model's codecs, which are on `device` inside a `with` block."""

    def __init__(self, model: JointModel, shape: AVShape, device: torch.device) -> None:
        self.video, self.audio, self.shape, self.device = model.video_codec, natural_length(model.audio_codec), shape, device
        self.full = model.video_stride.representable(shape.video)
        keys = [type(codec).__name__ + module_key(codec, "decoder") for codec in self._modules()]
        self.key = hash_of([VERSION, *keys, str(shape), str(self.full), str(self.audio.stride)])

    def _modules(self) -> list[nn.Module]:
        return [codec for codec in (self.video, self.audio) if isinstance(codec, nn.Module)]

    def __enter__(self) -> None:
        for codec in self._modules():
            codec.to(self.device)

    def __exit__(self, *_: object) -> None:
        for codec in self._modules():
            codec.to("cpu")

    @torch.no_grad()
    def encode(self, file: VideoFile) -> Iterator[dict[str, Tensor]]:
        """Yield the latents of each clip in float16. Raises ValueError without the file's name."""
        try:
            for frames, waveform in read_clips(file.path, self.shape):
                video = self.video.encode(extend_frames(frames, self.full)[None].to(self.device))
                audio = self.audio.encode(waveform[None].to(self.device))
                yield {"video": video[0].half(), "audio": audio[0].half()}
        except (ValueError, OSError) as error:
            raise ValueError(str(error).removeprefix(f"{file.path} ")) from error


@torch.no_grad()
def encode_prompts(
    model: JointModel, captions: set[tuple[str, str]], shape: AVShape, cache: Path, files: Sequence[Path] = ()
) -> Shards:
    """Encode pairs of prompts for video and audio with the text encoders of a model, or read them from `cache`."""
    conditioner: Any = model.conditioner
    key = hash_of([VERSION, type(conditioner).__name__, module_key(conditioner), files_key(files)])
    prompts = Shards(cache / f"prompts_{key}")

    def encode(pair: tuple[str, str]) -> Iterator[dict[str, Tensor]]:
        cond = model.encode(*pair, shape=shape)
        yield {
            f"{stream}.{name}": x.clone() for stream in ("video", "audio") for name, x in _tensors(getattr(cond, stream)).items()
        }

    wanted = {_prompt_key(pair): pair for pair in sorted(captions)}
    device = processes().device
    conditioner.to(device)
    try:
        prompts.fill(wanted, encode, processes().process_index * 7)
    finally:
        conditioner.to("cpu")
    if prompts.skipped:
        raise ValueError(f"a caption cannot be encoded ({next(iter(prompts.skipped.values()))}); correct it")
    return prompts


def _prompt_key(captions: tuple[str, str]) -> str:
    return hash_of(captions)


def _tensors(cond: Condition) -> dict[str, Tensor]:
    """Return the tensors of a condition with one row by name, without the zeros after its last token, and with little padding."""
    used = cond.tokens.ne(0).any(2).any(0).nonzero()
    length = int(used.max()) + 1 if len(used) else 0
    found = {"tokens": cond.tokens[:, :length], "mask": cond.mask, "vector": cond.vector, "image": cond.image}
    if cond.padding is not None:
        found["padding"] = cond.padding[:, : max(0, PADDED - cond.mask.shape[1])]
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    return tensors | ({f"second.{name}": x for name, x in _tensors(cond.second).items()} if cond.second else {})


def _read_condition(tensors: dict[str, Tensor]) -> Condition:
    mask, second = tensors["mask"], sub_tensors(tensors, "second")
    tokens = pad(tensors["tokens"], (0, 0, 0, mask.shape[1] - tensors["tokens"].shape[1]))
    return Condition(
        tokens,
        mask,
        tensors.get("vector"),
        tensors.get("image"),
        _read_condition(second) if second else None,
        tensors.get("padding"),
    )
