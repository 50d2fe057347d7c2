"""The stand-in Mailchimp server of the sample account, and the process it runs in."""
