"""Spoken StoryCloze with the original distractors, from the user's copy (Hassid et al. 2023)."""

from ray_slm.tasks.spoken_story_cloze import SpokenStoryCloze

TASK = SpokenStoryCloze(name="ssc", title="sSC", place="spoken-storycloze", folder="sSC")
