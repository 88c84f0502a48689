"""Moving pictures: files, cameras and streams in, annotated videos out."""
