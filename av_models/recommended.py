"""Sampling settings that a model recommends: the field `sampling` of its model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .guidance import GUIDANCE, Guidance, make_guidance
from .guidance.base import NO_BLOCK
from .printable import printable, quoted

if TYPE_CHECKING:
    from .schedule import SamplingSchedule

G = TypeVar("G", bound=Guidance)
RANGES = {"steps": (1, 1000), "shift": (0.01, 100.0), "eta": (0.0, 10.0), "negative_skip_block": (0, 1000)}
WHOLE = ("steps", "negative_skip_block")
SCALE_RANGE, RESCALE_RANGE = (0.0, 30.0), (0.0, 1.0)
RESCALE = "rescale"
FIELDS = (*RANGES, "guidance", "scales")
NEEDS_ANOTHER_MODEL = "autoguidance"


@dataclass(frozen=True)
class Recommended:
    """The settings that a model recommends; Duet's defaults for those that its card leaves out.

    steps, shift, eta: of `SamplingSchedule`.
    guidance: the name of the guidance strategy.
    negative_skip_block: of `Guidance`.
    scales: guidance scales by strategy and name, such as {"cfg": {"video_scale": 3.0, "audio_scale": 3.5}}. An entry can have
        the modifiers `rescale` and `audio_rescale` too.
    given: the names of the fields above that the card has.
    """

    steps: int = 20
    shift: float = 1.0
    eta: float = 0.0
    guidance: str = "joint_cfg"
    negative_skip_block: int = NO_BLOCK
    scales: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    @property
    def schedule(self) -> SamplingSchedule:
        """The recommended steps and times."""
        from .schedule import SamplingSchedule  # imports diffusers

        return SamplingSchedule(self.steps, self.shift, eta=self.eta)

    def make_guidance(self, name: str | None = None, **settings: Any) -> Guidance:
        """Make the guidance strategy `name` with the recommended scales; None: the recommended strategy.

        settings: as for `guidance.make_guidance`; they replace recommended scales.
        """
        name = name or self.guidance
        return make_guidance(name, **{**self._open_settings(name), **settings})

    def fill_scales(self, guidance: G, names: frozenset[str]) -> G:
        """Return `guidance` with the recommended values of the scales in `names`; others stay.

        `names` can have "negative_skip_block", "rescale" and "audio_rescale" too.
        """
        changes: dict[str, Any] = {name: value for name, value in self._open_settings(guidance.name).items() if name in names}
        return replace(guidance, **changes) if changes else guidance

    def _open_settings(self, name: str) -> dict[str, Any]:
        return {**self.scales.get(name, {}), "negative_skip_block": self.negative_skip_block}


def parse_sampling(sampling: Any, where: object, trained: bool = True) -> Recommended:
    """Read the `sampling` of a model card. where: the file or model that errors name. trained: whether as a pair.

    It is a table of `steps`, `shift`, `eta`, `guidance` (a name), `negative_skip_block` and `scales`, all optional. `scales` has an
    entry for each strategy by name: its scale, or a table of `scale`, `cross_scale`, `skip_scale` and `rescale`, each a number or
    [video, audio].
    Raises ValueError, in one line, for anything else and for values out of range.
    """
    values = {} if sampling is None else _table(sampling, f"{where}: sampling", FIELDS)
    for name, limits in RANGES.items():
        if name in values:
            _check_number(values[name], f"{where}: sampling.{name}", limits, whole=name in WHOLE)
    guidance = values.get("guidance", "joint_cfg" if trained else "cfg")
    usable = [name for name in GUIDANCE if name != NEEDS_ANOTHER_MODEL]
    if guidance not in usable:
        raise ValueError(f"{where}: sampling.guidance is {quoted(guidance)}; use one of {', '.join(usable)}")
    scales = _table(values.get("scales", {}), f"{where}: sampling.scales", GUIDANCE)
    parsed = {name: _parse_scales(name, entry, f"{where}: sampling.scales.{name}") for name, entry in scales.items()}
    return Recommended(**values | {"guidance": guidance, "scales": parsed, "given": frozenset(values)})


def scales_of_cfg(scale: Any) -> dict[str, Any]:
    """Return the entry `scales` of a card with the scale of CFG, for all methods whose scale strengthens the prompt as CFG's."""
    return {"dual_cfg": {"scale": scale}, **dict.fromkeys(("cfg", "joint_cfg", "joint_cfg_star", "cfg_zero_star", "apg"), scale)}


def sampling_field(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `sampling` for the card of a checkpoint, {} if the stage's config has none."""
    return {"sampling": config["sampling"]} if "sampling" in config else {}


def _parse_scales(strategy: str, entry: Any, where: str) -> dict[str, float]:
    """Convert the entry of one strategy to its settings, such as {"video_scale": 2.5, "audio_scale": 2.5}."""
    own = [each.name for each in fields(GUIDANCE[strategy]) if each.name.startswith("video_")]
    kinds = [name.removeprefix("video_") for name in own] + ([RESCALE] if own else [])
    table = entry if isinstance(entry, dict) else {"scale": entry}
    found = {}
    for kind, value in _table(table, where, kinds).items():
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2:
            raise ValueError(f"{where} is {quoted(value)}; give a number, or two for video and audio")
        names = (RESCALE, f"audio_{RESCALE}") if kind == RESCALE else (f"video_{kind}", f"audio_{kind}")
        for setting, each in zip(names, pair):
            _check_number(each, where, RESCALE_RANGE if kind == RESCALE else SCALE_RANGE)
            found[setting] = float(each)
    return found


def _table(value: Any, where: str, known: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {quoted(value)}; give a table with {', '.join(known)}")
    for name in value:
        if name not in known:
            raise ValueError(f"{where} has no {printable(name)}; use {', '.join(known) or 'nothing'}")
    return value


def _check_number(value: Any, where: str, limits: tuple[float, float], whole: bool = False) -> None:
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not limits[0] <= value <= limits[1]:
        raise ValueError(f"{where} is {quoted(value)}; use a {'whole ' if whole else ''}number from {limits[0]:g} to {limits[1]:g}")
