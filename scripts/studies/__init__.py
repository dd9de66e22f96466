"""The natural-gradient studies: one file a study, on the same `trpo/` functions that training uses."""
