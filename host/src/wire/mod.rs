//! What goes over a socket: frames and codes, each written in one place.
