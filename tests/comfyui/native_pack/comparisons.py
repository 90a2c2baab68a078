"""Nodes for tests of comparisons."""

from comfy_extras.nodes_custom_sampler import Noise_RandomNoise


class LatentAfter:
    """The latent, once the comparison is done."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",), "comparison": ("DUET_COMPARISON",)}}

    def make(self, latent, comparison):
        return (latent,)


class OwnNoise(Noise_RandomNoise):
    """A NOISE of another pack."""


class OtherNoise:
    RETURN_TYPES, FUNCTION, CATEGORY = ("NOISE",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (OwnNoise(4),)


class SameAsCell:
    """The largest difference of a cell of a comparison from frames and audio, and the spread of the frames."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        of = {"comparison": ("DUET_COMPARISON",), "cell": ("INT",), "images": ("IMAGE",), "audio": ("AUDIO",)}
        return {"required": of}

    def tell(self, comparison, cell, images, audio):
        made = comparison.variants[cell]
        apart = [(made.frames - images).abs().max(), (made.waveform - audio["waveform"][0]).abs().max()]
        return {"ui": {"text": [repr(float(each)) for each in (*apart, images.std())]}}


NODES = (LatentAfter, OtherNoise, SameAsCell)
