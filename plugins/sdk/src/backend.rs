//! Where the host's functions come from: imports on wasm, a [`World`](crate::test) in memory else.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::guest::imports::relevo::plugin::{log, lookup, metrics, state};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::test::world::{log, lookup, metrics, state};
