"""Ray: how a study runs, never what it means.  With jobs/, the only place that imports ray."""
