"""What every room may use: time, errors, locks, files, hashes. Nothing here knows Mailchimp, tables or statistics."""
