//! The binary `relevo`: see [`relevo::cli`].

fn main() {}
