//! Routes only: connect and health.
