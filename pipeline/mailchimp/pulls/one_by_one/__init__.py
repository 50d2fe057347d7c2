"""Messages that go out one by one: when they are planned, whose activity feed is read, and the time that counts."""
