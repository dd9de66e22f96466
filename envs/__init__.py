"""The worlds: Gymnasium and EnvPool vector environments behind one door."""
