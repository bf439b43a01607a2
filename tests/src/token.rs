//! Tokens as an identity provider would make them, for the secret that every test's server has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of the tests' servers.
pub const SECRET: &str = "only-for-tests-0123456789-abcdefghijklmnop";

/// A token that is good for an hour.
pub fn token(user: &str, role: &str) -> String {
    signed(&json!({"sub": user, "role": role, "exp": seconds_from_now(3600)}), SECRET)
}

/// A token with any claims and any secret.
pub fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("claims can be signed")
}

/// A moment as tokens give it.
pub fn seconds_from_now(seconds: u64) -> u64 {
    (SystemTime::now() + Duration::from_secs(seconds)).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
