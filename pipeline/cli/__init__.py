"""Commands of `driptune` by room: arguments and words for people; the work is done elsewhere."""
