//! Why there is no connection to a server, and what to do about it: by the server's code or the kind of error, since
//! its texts are in its own language.

use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

use super::super::error::{CaptureError, said};
use super::catalog::quote;
use super::connect::{Address, CONNECT};

/// The codes of PostgreSQL's appendix A.
const WRONG_PASSWORD: &str = "28P01";
const NOT_LET_IN: &str = "28000";
const NO_DATABASE: &str = "3D000";
const TOO_MANY: &str = "53300";
const MAY_NOT: &str = "42501";
const NOT_YET: &str = "57P03";

const ENCODED: &str = "in the password each of : / ? # [ ] @ % is written by its code, like %40 for @";

const TLS: &str = "where the server has no TLS, switch it on there (`ssl`), or take another `sslmode`; where its certificate isn't trusted, give who signed it (`sslrootcert=FILE`), and the host by the name that the certificate has";

const FILES: &str = "mend the certificate files that the url or PGSSLROOTCERT, PGSSLCERT and PGSSLKEY name: in PEM, and so that the user that relevo runs as may read them";

/// `error` None: it took too long.
pub(super) fn unreachable(address: &Address, error: Option<&sqlx::Error>) -> CaptureError {
    let timeout = || format!("the database doesn't answer: to connect took more than {} s", CONNECT.as_secs());
    CaptureError::Connect {
        at: address.to_string(),
        cause: error.map_or_else(timeout, said),
        remedy: remedy(address, error),
    }
}

fn remedy(address: &Address, error: Option<&sqlx::Error>) -> String {
    let options = address.options();
    let user = quote(options.get_username());
    match error {
        Some(sqlx::Error::Database(error)) => match error.code().as_deref() {
            Some(WRONG_PASSWORD) if !address.has_password() => {
                "no password was given: it belongs into the url, PGPASSWORD or ~/.pgpass".into()
            }
            Some(WRONG_PASSWORD) => format!("mend role and password in the url: {ENCODED}"),
            Some(NOT_LET_IN) => format!(
                "make the role, if it isn't there (CREATE ROLE {user} LOGIN REPLICATION;), or let it log in (ALTER ROLE {user} LOGIN;), or let it in by a line in pg_hba.conf (docs/installation.md, PostgreSQL)"
            ),
            Some(MAY_NOT) => {
                let database = quote(options.get_database().unwrap_or(options.get_username()));
                format!(
                    "if it is the database, as its owner or a superuser: GRANT CONNECT ON DATABASE {database} TO {user}; if it is a setting, take it out of the `options` of the url (or of PGOPTIONS)"
                )
            }
            Some(NO_DATABASE) => no_database(options),
            Some(TOO_MANY) => "end other sessions, or raise what limits them: max_connections, or the CONNECTION LIMIT of the role or the database".into(),
            Some(NOT_YET) => "wait until the server has started: it goes on by itself".into(),
            _ => "mend the url, or what the server says".into(),
        },
        Some(sqlx::Error::Io(error)) => match error.kind() {
            ErrorKind::ConnectionRefused => "start PostgreSQL, or mend host and port in the url".into(),
            ErrorKind::NotFound | ErrorKind::PermissionDenied if !address.is_local() && address.has_files() => FILES.into(),
            ErrorKind::NotFound => "start PostgreSQL, or mend the socket's folder and the port in the url".into(),
            ErrorKind::PermissionDenied => "let the user that relevo runs as use the socket".into(),
            // What rustls finds wrong with a certificate.
            ErrorKind::InvalidData => TLS.into(),
            _ => "mend the host in the url, or the network to it".into(),
        },
        Some(sqlx::Error::Tls(_)) => TLS.into(),
        Some(sqlx::Error::Configuration(_)) => FILES.into(),
        Some(_) => "mend the url, or start PostgreSQL".into(),
        None => "mend host and port in the url, or let relevo through the firewall".into(),
    }
}

fn no_database(options: &PgConnectOptions) -> String {
    match options.get_database() {
        Some(database) => format!(
            "mend the database in the url, or make it, as a superuser or a role with CREATEDB: CREATE DATABASE {};",
            quote(database)
        ),
        None => {
            "the url names none, so it was that of the role's name: write postgres://USER:PASSWORD@HOST/DATABASE".into()
        }
    }
}
