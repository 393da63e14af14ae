"""The console: the API of operations, and signing in to it with a browser (docs/console.md).

These paths are cold, so libraries do the work: Werkzeug routes, and a Session of nameko-sqlalchemy asks the database.
"""
