//! Tests over real sockets follow.
