"""The lexical task of BabySLM, from the user's copy (Lavechin et al. 2023)."""

from ray_slm.tasks.gold_words import GoldWords

TASK = GoldWords(name="babyslm-lexical", title="BabySLM lexical", place="babyslm", several=True)
