"""Topic StoryCloze as published with audio, from the user's copy (Hassid et al. 2023)."""

from ray_slm.tasks.spoken_story_cloze import SpokenStoryCloze

TASK = SpokenStoryCloze(name="tsc", title="tSC", place="spoken-storycloze")
