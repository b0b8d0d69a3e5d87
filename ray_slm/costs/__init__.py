"""What a study will cost on a cluster: hours, dollars, bytes, a schedule, before any is spent."""
