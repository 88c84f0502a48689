"""Photo libraries: whose faces are in thousands of pictures that nobody has labelled."""
