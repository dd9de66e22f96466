"""Shared by the commands: options, messages, exit codes, signals, the display."""
