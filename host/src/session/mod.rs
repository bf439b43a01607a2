//! One client: handshake, commands, heartbeat.
