"""The outside world coming in: Mailchimp, event files, the user's definitions, and the lake. No analysis."""
