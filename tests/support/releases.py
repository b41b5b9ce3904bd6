"""What tests of releases share."""

ADMIN_KEY = "an-admin-key"
