"""The syntactic task of BabySLM, from the user's copy (Lavechin et al. 2023)."""

from ray_slm.tasks.gold_sentences import GoldSentences

TASK = GoldSentences(name="babyslm-syntactic", title="BabySLM syntactic", place="babyslm")
