"""From observations to numbers: encoders, memory, multilayer perceptrons."""
