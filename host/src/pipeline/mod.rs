//! Cursor, batch, plugins, commit.
