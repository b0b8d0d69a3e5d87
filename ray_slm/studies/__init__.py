"""One file per study, each with one constant STUDY."""
