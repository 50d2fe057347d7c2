"""What people read: the morning in ten lines, charts and pages. Every number comes from a published mart."""
