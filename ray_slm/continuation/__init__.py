"""What a model says after a prompt: made audible, transcribed and judged."""
