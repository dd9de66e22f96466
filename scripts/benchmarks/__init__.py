"""What the published numbers were measured with."""
