"""Tables of journeys: as read from Mailchimp (`lake`), and as published (`marts`)."""
