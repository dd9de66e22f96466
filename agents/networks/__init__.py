"""From observations to outputs: encoders, recurrent layers, multilayer perceptrons."""
