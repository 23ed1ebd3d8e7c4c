"""The gateway: a streaming reverse proxy from callers with a key to one private Cloud Run service."""
