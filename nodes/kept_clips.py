"""Keeps the clips of the last run of each Compare node, so that the next run samples only what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from torch import nn

from ..av_models.fingerprint import fingerprint
from ..av_models.noise import MAX_SEED
from .latents import clip_shape
from .run_sampler import Settings
from .sockets import GuidanceInput, Prompts

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip

MAX_NODES = 2  # nodes whose clips are kept per model
Key = tuple
_runs: WeakKeyDictionary[nn.Module, dict[str, dict[Key, Any]]] = WeakKeyDictionary()


def keep_needed(network: nn.Module, node_id: str, keys: Sequence[Sequence[Key]]) -> dict[Key, Clip]:
    """Returns the clips of the node's last run that are among `keys`, and forgets its others. network: of the model.

    Add the new clips to the returned dictionary: the next run finds them, even if this one is interrupted. Clips are freed
    together with the model. Of those that are not the first of their cell, only the measurements are kept.
    """
    last: dict[Key, Clip] = take_last_run(node_id)
    kept = {key: last[key] for own in keys for key in own[:1] if key in last and last[key].frames is not None}
    kept |= {key: last[key].measurements() for own in keys for key in own[1:] if key in last}
    return begin_run(network, node_id, kept)


def take_last_run(node_id: str) -> dict[Key, Any]:
    """Returns what the node's last run has kept, and forgets it."""
    last: dict[Key, Any] = {}
    for runs in list(_runs.values()):
        last |= runs.pop(node_id, {})
    return last


def begin_run(network: nn.Module, node_id: str, kept: dict[Key, Any]) -> dict[Key, Any]:
    """Keeps `kept`, and all that is added to it, for the node's next run. It is freed together with the `network`."""
    runs = _runs.setdefault(network, {})
    if len(runs) == MAX_NODES:
        runs.pop(next(iter(runs)))
    runs[node_id] = kept
    return kept


def seed_settings(settings: Settings, clips: int) -> list[Settings]:
    """Returns the settings of each clip of a cell: both seeds are raised by 1 for each further clip."""
    return [replace(settings, video_seed=raised_seed(settings.video_seed, i), audio_seed=raised_seed(settings.audio_seed, i))
            for i in range(clips)]  # fmt: skip


def raised_seed(seed: int, by: int) -> int:
    """Returns a seed that is `by` higher; after the highest one comes 0."""
    return (seed + by) % (MAX_SEED + 1)


def clip_keys(
    model, prompts: Prompts, latent: dict[str, Any], guidances: Sequence[GuidanceInput], settings: Sequence[Settings]
) -> list[list[Key]]:
    """Returns everything that each clip depends on, per guidance and settings.

    Tensors count by their content, networks by identity and changes in place.
    """
    shared = _model_key(model, prompts), fingerprint(
        clip_shape(latent, model), streams_of(latent["samples"]), streams_of(latent.get("noise_mask")),
        prompts.words, prompts.picture, prompts.encoded,
    )  # fmt: skip
    seeds = [fingerprint(each) for each in settings]
    bad_models = {id(each.bad_model): _model_key(each.bad_model, prompts) for each in guidances if each.bad_model}
    strategies = [(bad_models.get(id(each.bad_model)), fingerprint(each.strategy)) for each in guidances]
    return [[(shared, strategy, seed) for seed in seeds] for strategy in strategies]


def _model_key(model, prompts: Prompts) -> Key:
    """Returns which model it is (a weak reference: another object never equals it), its state, and whose prompts these are."""
    return ref(model.networks), str(model.device), fingerprint(model), prompts.encoder is not None and prompts.encoder() is model


def streams_of(samples: Any) -> Any:
    """Returns the streams of nested samples as a list, and anything else as it is."""
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else samples
