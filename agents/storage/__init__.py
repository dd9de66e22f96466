"""What an agent and a run leave on disk, and reading it back."""
