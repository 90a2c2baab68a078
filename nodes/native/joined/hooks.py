"""Hooks of the prompts, such as LoRAs with a schedule, for each model of a pair."""

from __future__ import annotations

from typing import Any

from comfy.hooks import HookGroup


class OwnHooks:
    """Gives one model hooks with keyframes of its own.

    A keyframe begins at a σ of the model that runs, and counts its steps. Prompts of both models may have the same hooks.
    Equal hooks stay one object, as ComfyUI runs prompts of the same hooks in one call.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], tuple[Any, HookGroup]] = {}  # with what an id is of, which keeps it
        self._keyframes: dict[int, tuple[Any, Any]] = {}

    def combine(self, *groups: HookGroup | None) -> HookGroup | None:
        """Returns the hooks of all groups; None if there are none."""
        present = [group for group in groups if group is not None]
        if not present:
            return None
        key = tuple(map(id, present))
        if key not in self._made:
            self._made[key] = present, self._own(present)
        return self._made[key][1]

    def _own(self, groups: list[HookGroup]) -> HookGroup:
        own = HookGroup()
        for hook in (each for group in groups for each in group.clone().hooks):
            keyframes = hook.hook_keyframe
            _, hook.hook_keyframe = self._keyframes.setdefault(id(keyframes), (keyframes, keyframes.clone()))
            own.add(hook)
        return own
