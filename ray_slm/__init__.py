"""ray_slm: why speech language models are harder to train than text models, with error bars."""

__version__ = "0.1.0"
