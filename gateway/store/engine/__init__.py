"""The databases: SQLite and PostgreSQL, their dialects, migrations, backup and dumps."""
