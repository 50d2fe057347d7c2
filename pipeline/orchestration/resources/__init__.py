"""The resource that only runs use: the working file of the warehouse."""
