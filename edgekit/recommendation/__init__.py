"""Which techniques will pay for a model on a target: planned and converted in seconds, without training."""
