"""What videos are written by: one module an engine, each with the contract of ``base.Encoder``."""
