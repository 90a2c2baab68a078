"""Node schemas: sockets, widgets and node classes, and their description in `object_info`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar

_COMMON = {"display_name": "display_name", "tooltip": "tooltip", "lazy": "lazy", "advanced": "advanced"}
_WIDGET = {"default": "default", "socketless": "socketless", "force_input": "forceInput"}
_NUMBER = {"min": "min", "max": "max", "step": "step"}
_SEED = {"control_after_generate": "control_after_generate"}


class Hidden(str, Enum):
    """Hidden inputs that a node can request."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class UploadType(str, Enum):
    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class Input:
    """An input of a node.

    keys: the accepted options, and their names in `object_info`. always: options that are always part of `object_info`.
    """

    io_type: ClassVar[str] = "*"
    keys: ClassVar[dict[str, str]] = _COMMON
    always: ClassVar[dict[str, Any]] = {}

    def __init__(self, id: str, *, optional: bool = False, extra_dict: dict | None = None, **options: Any) -> None:
        unknown = options.keys() - self.keys.keys()
        if unknown:
            raise TypeError(f"{self.io_type} input {id} does not take {', '.join(sorted(unknown))}")
        self.id, self.optional, self.extra = id, optional, extra_dict or {}
        self.options = {name: value for name, value in options.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        return self.always | {self.keys[name]: value for name, value in self.options.items()} | self.extra


class Output:
    """An output of a node."""

    io_type: ClassVar[str] = "*"

    def __init__(self, id: str | None = None, *, display_name: str | None = None, tooltip: str | None = None) -> None:
        self.id, self.display_name, self.tooltip = id, display_name or id or self.io_type, tooltip


def Custom(io_type: str, keys: Mapping[str, str] | None = None, **always: Any):
    """Returns a socket type with its `Input` and `Output` classes."""
    ins = type("Input", (Input,), {"io_type": io_type, "keys": _COMMON | dict(keys or {}), "always": always})
    outs = type("Output", (Output,), {"io_type": io_type})
    return type(io_type, (), {"io_type": io_type, "Input": ins, "Output": outs})


Boolean = Custom("BOOLEAN", _WIDGET | {"label_on": "label_on", "label_off": "label_off"})
Int = Custom("INT", _WIDGET | _NUMBER | _SEED)
Float = Custom("FLOAT", _WIDGET | _NUMBER | {"round": "round"})
String = Custom("STRING", _WIDGET | {"multiline": "multiline", "placeholder": "placeholder"}, multiline=False)
Image, Mask, Audio, Video, Latent = (Custom(name) for name in ("IMAGE", "MASK", "AUDIO", "VIDEO", "LATENT"))
Model, Clip, Conditioning, Vae = (Custom(name) for name in ("MODEL", "CLIP", "CONDITIONING", "VAE"))
Guider, Noise, Sampler, Sigmas = (Custom(name) for name in ("GUIDER", "NOISE", "SAMPLER", "SIGMAS"))


class Curve(Custom("CURVE")):
    """A curve editor."""

    class Input(Input):
        io_type = "CURVE"
        keys = _COMMON | _WIDGET

        def __init__(self, id: str, *, default: Sequence[tuple[float, float]] = ((0.0, 0.0), (1.0, 1.0)), **others: Any) -> None:
            points = {"points": [list(point) for point in default], "interpolation": "monotone_cubic"}
            super().__init__(id, default=points, socketless=True, **others)


class Combo(Custom("COMBO")):
    """A dropdown."""

    class Input(Input):
        io_type = "COMBO"
        keys = _COMMON | _WIDGET | _SEED | {"options": "options"}
        always = {"multiselect": False}

        def __init__(self, id: str, *, options: Sequence[str] = (), upload: UploadType | None = None, **others: Any) -> None:
            super().__init__(id, options=list(options), **others)
            self.upload = upload

        def as_dict(self) -> dict[str, Any]:
            uploads = {self.upload.value: True} if self.upload else {}
            return super().as_dict() | uploads


class DynamicCombo:
    """A dropdown in which each choice has its own inputs."""

    io_type = "COMFY_DYNAMICCOMBO_V3"

    @dataclass(frozen=True)
    class Option:
        key: str
        inputs: list[Input]

        def as_dict(self) -> dict[str, Any]:
            return {"key": self.key, "inputs": _required_and_optional(self.inputs)}

    class Input(Input):
        io_type = "COMFY_DYNAMICCOMBO_V3"

        def __init__(self, id: str, *, options: Sequence[DynamicCombo.Option], **others: Any) -> None:
            super().__init__(id, **others)
            self.choices = options

        def as_dict(self) -> dict[str, Any]:
            return super().as_dict() | {"options": [option.as_dict() for option in self.choices]}


class Autogrow:
    """A list of inputs of one type that grows as the user connects them."""

    io_type = "COMFY_AUTOGROW_V3"

    @dataclass(frozen=True)
    class TemplatePrefix:
        """`prefix`0, `prefix`1, … up to `max`; the first `min` are required."""

        input: Input
        prefix: str
        min: int = 1
        max: int = 10

        def as_dict(self) -> dict[str, Any]:
            return {"input": _required_and_optional([self.input]), "prefix": self.prefix, "min": self.min, "max": self.max}

    class Input(Input):
        io_type = "COMFY_AUTOGROW_V3"

        def __init__(self, id: str, *, template: Autogrow.TemplatePrefix, **others: Any) -> None:
            super().__init__(id, **others)
            self.template = template

        def as_dict(self) -> dict[str, Any]:
            return super().as_dict() | {"template": self.template.as_dict()}


def _required_and_optional(inputs: Sequence[Input]) -> dict[str, dict[str, tuple[str, dict[str, Any]]]]:
    described: dict[str, dict] = {"required": {}}
    for each in inputs:
        described.setdefault("optional" if each.optional else "required", {})[each.id] = each.io_type, each.as_dict()
    return described


@dataclass
class Schema:
    """The description of a node."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    essentials_category: str | None = None
    is_output_node: bool = False
    is_experimental: bool = False

    def finalize(self) -> None:
        """Adds the hidden inputs that output nodes need to save their workflow, and an ID for every output."""
        if self.is_output_node:
            self.hidden += [each for each in (Hidden.prompt, Hidden.extra_pnginfo) if each not in self.hidden]
        for index, output in enumerate(self.outputs):
            output.id = output.id or f"_{index}_{output.io_type}_"

    def inputs_info(self) -> dict[str, dict]:
        described = _required_and_optional(self.inputs)
        if self.hidden:
            described["hidden"] = {each.name: (each.value,) for each in self.hidden}
        return described


class ComfyNode(ABC):
    """A node: `define_schema` describes it, and `execute` runs it on a clone of the class that has `hidden`."""

    hidden: ClassVar[SimpleNamespace]
    RELATIVE_PYTHON_MODULE: ClassVar[str | None] = None  # set by ComfyUI

    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema: ...

    @classmethod
    @abstractmethod
    def execute(cls, **inputs: Any) -> NodeOutput: ...

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.finalize()
        ids = [each.id for each in schema.inputs]
        assert len(ids) == len(set(ids)), f"{schema.node_id} has two inputs with the same name"
        return schema

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """Returns the entry of this node in `object_info`."""
        schema = cls.GET_SCHEMA()
        inputs = schema.inputs_info()
        outputs = schema.outputs
        return {
            "input": inputs,
            "input_order": {kind: list(group) for kind, group in inputs.items()},
            "is_input_list": False,
            "output": [each.io_type for each in outputs],
            "output_is_list": [False] * len(outputs),
            "output_name": [each.display_name for each in outputs],
            "output_tooltips": [each.tooltip for each in outputs],
            "output_matchtypes": None,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": cls.RELATIVE_PYTHON_MODULE,
            "category": schema.category,
            "output_node": schema.is_output_node,
            "deprecated": False,
            "experimental": schema.is_experimental,
            "dev_only": False,
            "api_node": False,
            "price_badge": None,
            "search_aliases": schema.search_aliases or None,
            "essentials_category": schema.essentials_category,
            "has_intermediate_output": False,
        }

    @classmethod
    def clone_for_run(cls, hidden: Mapping[str, Any]) -> type[ComfyNode]:
        """Returns a new class for one run, so that no state is kept on the class between runs."""
        known = {each.name: hidden.get(each.name) for each in Hidden}
        return type(cls.__name__, (cls,), {"hidden": SimpleNamespace(**known)})


class NodeOutput:
    """The result of a node: its outputs in order, and its UI output."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui

    @property
    def shown(self) -> dict[str, Any]:
        if self.ui is None:
            return {}
        return self.ui if isinstance(self.ui, dict) else self.ui.as_dict()


class ComfyExtension(ABC):
    """A node pack."""

    async def on_load(self) -> None:
        """Called once, before `get_node_list`."""

    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]: ...
