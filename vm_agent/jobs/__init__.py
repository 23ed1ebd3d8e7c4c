"""Ready-made jobs that the agent can run."""
