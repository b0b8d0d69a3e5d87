"""sWUGGY of the Zero Resource Speech Benchmark 2021, from the user's copy (Nguyen et al. 2020)."""

from ray_slm.tasks.gold_words import GoldWords

TASK = GoldWords(name="zerospeech-swuggy", title="sWUGGY", place="zerospeech2021")
