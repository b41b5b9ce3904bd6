"""The files of the companion model that scores texts, copied into the model repository."""
