"""Self-contained report pages: HTML fragments, inline pictures and SVG charts, nothing fetched from elsewhere."""
