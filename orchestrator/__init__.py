"""The orchestrator: takes one VM up the ladder, follows one run to its end, and comes down again."""
