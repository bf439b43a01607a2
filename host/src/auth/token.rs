//! JSON Web Tokens, HS256: checks those that clients bring, and makes those of `relevo token`.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Secret;
use crate::config::{AuthSettings, is_role};
use crate::event::Micros;

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's `user_id`, else its `sub`.
    pub user: Arc<str>,
    /// The token's `role`, else `LEVEL_n` of its `nivel`, else `LEVEL_1`.
    pub role: Arc<str>,
    /// When the token ends.
    pub expires: Micros,
}

/// Why a token is refused. The text is for the client and repeats nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired; get a new one")]
    Expired,
    #[error("the token is not valid yet (nbf); check the clocks")]
    NotYet,
    #[error("the token's issuer (iss) is not the one that this server trusts")]
    Issuer,
    #[error("the token is for another audience (aud)")]
    Audience,
    #[error("the token's signature doesn't fit, or it is not signed with HS256")]
    Signature,
    #[error("the token has no exp; tokens must expire")]
    NoExpiry,
    #[error("the token names no user: it needs user_id or sub")]
    NoUser,
    #[error("this is no token that can be read")]
    Malformed,
}

/// Checks and makes tokens.
#[derive(Clone)]
pub struct Tokens {
    decoding: DecodingKey,
    encoding: EncodingKey,
    validation: Validation,
    settings: AuthSettings,
}

/// What a token says. Ids are numbers in some systems and texts in others.
#[derive(Deserialize)]
struct Claims {
    /// That it is there is the validation's to say: it has the better error.
    exp: Option<u64>,
    user_id: Option<Value>,
    sub: Option<Value>,
    role: Option<Value>,
    nivel: Option<Value>,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    sub: &'a str,
    role: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Tokens {
    /// How far the clock of a token's maker may be ahead, in seconds. An expiry gets no grace.
    const SKEW: u64 = 5;

    pub fn new(secret: &Secret, settings: &AuthSettings) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_nbf = true;
        validation.leeway = Self::SKEW;
        validation.reject_tokens_expiring_in_less_than = Self::SKEW;
        let mut required = vec!["exp"];
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &settings.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            // Who configures no audience doesn't ask for one: a token that has one is fine.
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        Self {
            decoding: DecodingKey::from_secret(secret.bytes()),
            encoding: EncodingKey::from_secret(secret.bytes()),
            validation,
            settings: AuthSettings { secret: None, ..settings.clone() },
        }
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// Says why it is refused.
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(refusal)?.claims;
        let user = text(claims.user_id.as_ref()).or_else(|| text(claims.sub.as_ref())).ok_or(TokenError::NoUser)?;
        if user.len() > 128 || user.chars().any(char::is_control) {
            return Err(TokenError::Malformed);
        }
        let role = match text(claims.role.as_ref()) {
            Some(role) => role,
            None => level(claims.nivel.as_ref()).to_owned(),
        };
        if !is_role(&role) {
            return Err(TokenError::Malformed);
        }
        Ok(Identity {
            user: user.into(),
            role: role.into(),
            expires: Micros(claims.exp.ok_or(TokenError::NoExpiry)?.saturating_mul(1_000_000)),
        })
    }

    /// Makes a token that [`Self::verify`] accepts.
    ///
    /// # Errors
    /// If the user or the role can't stand in a token.
    pub fn issue(&self, user: &str, role: &str, ttl: Duration) -> Result<String, TokenError> {
        if user.is_empty() || !is_role(role) {
            return Err(TokenError::Malformed);
        }
        let now = Micros::now().0 / 1_000_000;
        let claims = NewClaims {
            sub: user,
            role,
            iat: now,
            nbf: now,
            exp: now.saturating_add(ttl.as_secs()),
            iss: self.settings.issuer.as_deref(),
            aud: self.settings.audience.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|_| TokenError::Malformed)
    }
}

fn text(claim: Option<&Value>) -> Option<String> {
    match claim? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn level(nivel: Option<&Value>) -> &'static str {
    match text(nivel).as_deref() {
        Some("2" | "LEVEL_2") => "LEVEL_2",
        Some("3" | "LEVEL_3") => "LEVEL_3",
        _ => "LEVEL_1",
    }
}

fn refusal(error: jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            _ => TokenError::NoExpiry,
        },
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn tokens(settings: &AuthSettings) -> Tokens {
        Tokens::new(&Secret::new(SECRET, "test").unwrap(), settings)
    }

    fn signed(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
            .unwrap()
    }

    fn now() -> u64 {
        Micros::now().0 / 1_000_000
    }

    fn verified(claims: Value) -> Result<Identity, TokenError> {
        tokens(&AuthSettings::default()).verify(&signed(&claims))
    }

    #[test]
    fn a_token_that_was_issued_is_accepted() {
        let tokens = tokens(&AuthSettings::default());
        let identity = tokens.verify(&tokens.issue("7", "ADMIN", Duration::from_secs(60)).unwrap()).unwrap();
        assert_eq!((&*identity.user, &*identity.role), ("7", "ADMIN"));
        assert!(identity.expires > Micros::now());
    }

    #[test]
    fn an_expired_token_is_refused_without_grace() {
        assert_eq!(verified(json!({"sub": "1", "exp": now() - 2})), Err(TokenError::Expired));
        assert_eq!(verified(json!({"sub": "1", "exp": 0})), Err(TokenError::Malformed));
    }

    #[test]
    fn a_token_without_or_with_an_unreadable_expiry_is_refused() {
        assert_eq!(verified(json!({"sub": "1"})), Err(TokenError::NoExpiry));
        assert!(verified(json!({"sub": "1", "exp": "tomorrow"})).is_err());
        assert!(verified(json!({"sub": "1", "exp": -5})).is_err());
    }

    #[test]
    fn a_token_of_the_future_is_refused() {
        assert_eq!(verified(json!({"sub": "1", "exp": now() + 900, "nbf": now() + 60})), Err(TokenError::NotYet));
        assert!(verified(json!({"sub": "1", "exp": now() + 900, "nbf": now() + 1})).is_ok(), "clocks differ a little");
        assert!(verified(json!({"sub": "1", "exp": now() + 900, "nbf": "soon"})).is_err());
    }

    #[test]
    fn the_issuer_is_checked_where_one_is_set() {
        let strict = tokens(&AuthSettings { issuer: Some("us".into()), ..AuthSettings::default() });
        let exp = now() + 60;
        assert_eq!(strict.verify(&signed(&json!({"sub": "1", "exp": exp, "iss": "them"}))), Err(TokenError::Issuer));
        assert_eq!(strict.verify(&signed(&json!({"sub": "1", "exp": exp}))), Err(TokenError::Issuer));
        assert!(strict.verify(&signed(&json!({"sub": "1", "exp": exp, "iss": "us"}))).is_ok());
        assert!(strict.verify(&strict.issue("1", "ADMIN", Duration::from_secs(60)).unwrap()).is_ok());
    }

    #[test]
    fn the_audience_is_checked_where_one_is_set() {
        let strict = tokens(&AuthSettings { audience: Some("relevo".into()), ..AuthSettings::default() });
        let exp = now() + 60;
        assert_eq!(strict.verify(&signed(&json!({"sub": "1", "exp": exp, "aud": "x"}))), Err(TokenError::Audience));
        assert_eq!(strict.verify(&signed(&json!({"sub": "1", "exp": exp}))), Err(TokenError::Audience));
        assert!(strict.verify(&signed(&json!({"sub": "1", "exp": exp, "aud": ["x", "relevo"]}))).is_ok());
        assert!(strict.verify(&strict.issue("1", "ADMIN", Duration::from_secs(60)).unwrap()).is_ok());
    }

    #[test]
    fn a_token_with_an_audience_is_accepted_where_none_is_set() {
        assert!(verified(json!({"sub": "1", "exp": now() + 60, "aud": "grupo_gad"})).is_ok());
    }

    #[test]
    fn a_token_signed_otherwise_is_refused() {
        let tokens = tokens(&AuthSettings::default());
        let claims = json!({"sub": "1", "exp": now() + 60});
        let other = EncodingKey::from_secret(b"another secret of thirty-two bytes!!");
        let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &other).unwrap();
        assert_eq!(tokens.verify(&forged), Err(TokenError::Signature));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let hs512 = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(tokens.verify(&hs512), Err(TokenError::Signature));
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        // {"alg":"none","typ":"JWT"} . {"sub":"1","exp":99999999999} . nothing
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5OX0.";
        assert!(tokens(&AuthSettings::default()).verify(none).is_err());
        assert_eq!(tokens(&AuthSettings::default()).verify("nonsense"), Err(TokenError::Malformed));
        assert_eq!(tokens(&AuthSettings::default()).verify(""), Err(TokenError::Malformed));
    }

    #[test]
    fn user_id_wins_over_sub_and_role_over_nivel() {
        let exp = now() + 60;
        let who = |claims| verified(claims).map(|i| (i.user.to_string(), i.role.to_string()));
        let pair = |user: &str, role: &str| Ok((user.to_owned(), role.to_owned()));
        assert_eq!(
            who(json!({"exp": exp, "user_id": 42, "sub": "x", "role": "ADMIN", "nivel": 1})),
            pair("42", "ADMIN")
        );
        assert_eq!(who(json!({"exp": exp, "sub": "x", "nivel": 2})), pair("x", "LEVEL_2"));
        assert_eq!(who(json!({"exp": exp, "sub": "x", "nivel": "3"})), pair("x", "LEVEL_3"));
        assert_eq!(who(json!({"exp": exp, "sub": "x", "nivel": 9})), pair("x", "LEVEL_1"));
        assert_eq!(who(json!({"exp": exp, "sub": "x"})), pair("x", "LEVEL_1"));
        assert_eq!(who(json!({"exp": exp, "role": "ADMIN"})), Err(TokenError::NoUser));
        assert_eq!(who(json!({"exp": exp, "sub": "x", "role": "*"})), Err(TokenError::Malformed));
    }
}
