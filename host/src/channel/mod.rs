//! From committed message to sockets: the fan-out, subscriptions and outboxes.
