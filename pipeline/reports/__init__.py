"""What people read: the morning in ten lines, and the pages. Every number comes from a published table."""
