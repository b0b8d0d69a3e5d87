"""The plan machinery: identity, stages, store, runner.  Knows nothing of speech."""
