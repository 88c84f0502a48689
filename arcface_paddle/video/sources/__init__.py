"""What frames come from: one module an engine, each with the contract of ``base.RawVideo``."""
