//! Who sent a request, and whether they may operate the server.

use axum::http::{HeaderMap, StatusCode, header};

use super::{Parts, Refusal, requests};
use crate::auth::Identity;

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The sender.
///
/// # Errors
/// 401 without a good token.
pub(super) fn sender(parts: &Parts, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let refused = |why: String| Refusal(StatusCode::UNAUTHORIZED, "unauthorized", why.into());
    let token = bearer(headers).ok_or_else(|| refused("send Authorization: Bearer TOKEN".into()))?;
    let who = parts.session.tokens.verify(token).map_err(|error| refused(error.to_string()))?;
    requests::sent_by(&who);
    Ok(who)
}

/// The sender, who must be of a role that `auth.operators` names.
///
/// # Errors
/// 401 without a good token, 403 for another role.
pub(super) fn operator(parts: &Parts, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let who = sender(parts, headers)?;
    if parts.session.policy.may_operate(&who) {
        return Ok(who);
    }
    let message = format!("role {} may not operate this server; auth.operators names the roles that may", who.role);
    Err(Refusal(StatusCode::FORBIDDEN, "forbidden", message.into()))
}
