"""Mailchimp: the client, the pulls that fill the lake, and the account that approved changes are written to."""
