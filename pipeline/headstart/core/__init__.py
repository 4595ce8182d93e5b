"""Records, errors, files, rows, parallel work and sandboxes, for all other packages."""
