"""What the commands share: options, messages, exit codes, signals, the display."""
