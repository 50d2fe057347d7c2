"""What is written to the mail account: by one writer at a time, under an approval that still holds, read back by value.

Here: the lock, applying, keeping in step, rolling back. Not here: what a change is made of (`changes`), the journal of
what was written (`journal`), and how Mailchimp is reached (`pipeline/mailchimp/account.py`).
"""
