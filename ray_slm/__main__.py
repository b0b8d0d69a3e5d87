"""``python -m ray_slm`` is the command ``ray-slm``."""

from ray_slm.cli import main

main()
