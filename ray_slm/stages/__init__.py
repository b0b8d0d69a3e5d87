"""What each kind of stage does, free of Ray: cluster and local backend call the same code."""
