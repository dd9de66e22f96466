"""The natural-gradient studies: one file each, on the `trpo/` functions that training uses."""
