"""Facts, errors, files, rows, parallel work and sandboxes: what every other room builds on."""
