"""What `trpo tune` searches, by which trials, and what it found."""
