"""One module a command: flags to settings, settings to one call, the result to print."""
