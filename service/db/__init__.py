"""The database: models, sessions and repositories. All SQL is here."""
