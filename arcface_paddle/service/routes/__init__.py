"""The routes: parse, one call, a schema."""
