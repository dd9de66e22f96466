"""What an agent and a run leave on disk, and how it is read again."""
