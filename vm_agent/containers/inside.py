"""Where a container finds what is its run's. Imports nothing: the agent names such paths, too."""

FOLDER = "/mayfly"
UPLOADS = "uploads"  # in it, and in the run's own folder: the files that were brought for the run
