"""How Alembic reaches the ledger: by the connection, and in the transaction, of whoever opens it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
