"""Where batches go: services that own a producer."""
