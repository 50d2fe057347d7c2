"""What assets are given to work with: the warehouse, the lake, Mailchimp, the publication. No statistics here."""
