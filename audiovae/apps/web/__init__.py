"""The web page: a small server for sounds from a browser."""
