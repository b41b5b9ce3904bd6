"""Other servers that a user could score with, each in an environment of its own (`install.sh`)."""
