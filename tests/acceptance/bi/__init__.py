"""BI servers read the published file: real servers, installed on demand and driven over their own API."""
