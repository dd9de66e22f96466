"""From observations to outputs: encoders, recurrence, multilayer perceptrons, action masks."""
