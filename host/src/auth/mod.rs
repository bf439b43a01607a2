//! Who is it (tokens), and what may they do (policy). `session` and `http` ask here.

mod policy;
mod secret;
mod token;

pub use policy::Policy;
pub use secret::{Secret, SecretError};
pub use token::{Identity, TokenError, Tokens};
