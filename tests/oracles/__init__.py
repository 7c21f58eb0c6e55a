"""Independent descriptions of what must come out, which tests hold the gateway against."""
