"""The engines behind ``arcface_paddle.pipeline.runtime``, one module each, imported on first use."""
