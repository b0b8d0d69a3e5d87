"""sBLIMP of the Zero Resource Speech Benchmark 2021, from the user's copy (Nguyen et al. 2020)."""

from ray_slm.tasks.gold_sentences import GoldSentences

TASK = GoldSentences(name="zerospeech-sblimp", title="sBLIMP", place="zerospeech2021")
