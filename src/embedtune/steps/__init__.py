"""What :func:`~embedtune.api.fine_tune` goes through after reading and before saving: a file a step."""
