"""Where the clients go into trainers and data pipelines: a module for each, which imports what it is for."""
