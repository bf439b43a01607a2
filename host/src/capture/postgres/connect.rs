//! Connections to the watched database: for SQL and for replication, both by the one address.

use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationConfig, SslMode, TlsConfig};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use url::Url;

use super::super::error::CaptureError;
use super::unreachable::unreachable;

/// What every session has, whatever the server's, the database's and the role's settings are: a type has
/// one text form then. `row_security = off` refuses to show some of the rows instead of hiding the others.
const PINNED: [(&str, &str); 10] = [
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("lc_monetary", "C"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("row_security", "off"),
    // No reader may be cut off while it waits for the journal.
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // The making of a slot waits for other transactions, by their locks.
    ("lock_timeout", "0"),
];

/// How long a statement of ours waits for somebody's lock: others wait behind it, and capture does.
pub(super) const PATIENT: &str = "SET lock_timeout = '2s'";

/// As servers list it among their sessions, where neither the address nor PGAPPNAME says another name.
const NAME: &str = "relevo";

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone)]
pub(crate) struct Address {
    options: PgConnectOptions,
    password: String,
    /// As the server lists its sessions.
    named: String,
    root: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, CaptureError> {
        Self::of(url, |name| std::env::var_os(name).map(PathBuf::from))
    }

    /// `environment`: the files that the address doesn't name, as sqlx takes them.
    fn of(url: &str, environment: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, CaptureError> {
        let wrong = |cause: String| CaptureError::PostgresAddress(cause);
        let options: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| wrong(e.to_string()))?;
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        let query = |option| parsed.query_pairs().find(|(name, _)| name == option).map(|(_, value)| value.into_owned());
        // Where it comes from another place than the address (PGPASSWORD, ~/.pgpass), sqlx has found it.
        // A socket as the host can be written in any case; sqlx panics at a folder that is only its default, and at IPv6.
        let password = options.clone().socket("/").to_url_lossy().password().map(percent_decoded);
        let file = |option, variable| query(option).map(PathBuf::from).or_else(|| environment(variable));
        let named = options.get_application_name().unwrap_or(NAME).to_owned();
        let root = file("sslrootcert", "PGSSLROOTCERT");
        // As libpq has it: who names a certificate's signer means it.
        let options = match (options.get_ssl_mode(), &root) {
            (PgSslMode::Require, Some(_)) => options.ssl_mode(PgSslMode::VerifyCa),
            _ => options,
        };
        Ok(Self {
            options: options.application_name(&named).options(PINNED).disable_statement_logging(),
            password: password.unwrap_or_default(),
            named,
            root,
            certificate: file("sslcert", "PGSSLCERT").zip(file("sslkey", "PGSSLKEY")),
        })
    }

    /// A connection for SQL.
    pub(crate) async fn connect(&self) -> Result<PgConnection, CaptureError> {
        let connect = async {
            let mut db = PgConnection::connect_with(&self.options).await?;
            // By version: a server refuses to connect at all with a setting that it doesn't know.
            let version = db.server_version_num().unwrap_or_default();
            let since =
                [(0, PATIENT), (140_000, "SET idle_session_timeout = 0"), (170_000, "SET transaction_timeout = 0")];
            let settings = since.iter().filter(|(since, _)| version >= *since).map(|(_, set)| *set);
            sqlx::raw_sql(AssertSqlSafe(settings.collect::<Vec<_>>().join("; "))).execute(&mut db).await?;
            Ok::<_, sqlx::Error>(db)
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(db) => db.map_err(|error| unreachable(self, Some(&error))),
            Err(_) => Err(unreachable(self, None)),
        }
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// It is reached by a socket's file.
    pub(super) fn is_local(&self) -> bool {
        self.options.get_socket().is_some() || self.options.get_host().starts_with('/')
    }

    pub(super) fn has_password(&self) -> bool {
        !self.password.is_empty()
    }

    /// It names certificate files, or the environment does.
    pub(super) fn has_files(&self) -> bool {
        self.root.is_some() || self.certificate.is_some()
    }

    /// How to replicate from `start` on. The names must be checked: lower-case letters, digits and `_`.
    pub(crate) fn replication(&self, slot: &str, publication: &str, start: u64) -> ReplicationConfig {
        let options = &self.options;
        let socket = options.get_socket().map(|folder| folder.to_string_lossy().into_owned());
        let mode = match options.get_ssl_mode() {
            _ if self.is_local() => SslMode::Disable,
            PgSslMode::Disable | PgSslMode::Allow => SslMode::Disable,
            PgSslMode::Prefer => SslMode::Prefer,
            PgSslMode::Require => SslMode::Require,
            PgSslMode::VerifyCa => SslMode::VerifyCa,
            PgSslMode::VerifyFull => SslMode::VerifyFull,
        };
        let (certificate, key) = self.certificate.clone().unzip();
        let tls = TlsConfig {
            mode,
            ca_pem_path: self.root.clone(),
            sni_hostname: None,
            client_cert_pem_path: certificate,
            client_key_pem_path: key,
        };
        let user = options.get_username();
        ReplicationConfig::new(
            socket.unwrap_or_else(|| options.get_host().to_owned()),
            user,
            self.password.clone(),
            options.get_database().unwrap_or(user),
            slot,
            publication,
        )
        .with_port(options.get_port())
        .with_tls(tls)
        .with_start_lsn(Lsn(start))
        // What is durable here is acknowledged within this time: at its shutdown the server waits for it.
        .with_status_interval(Duration::from_millis(200))
        // The address's own, and behind them what is pinned.
        .with_options(options.get_options().unwrap_or_default())
        .with_application_name(&self.named)
    }
}

/// HOST:PORT/DATABASE and the role; never the password.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = &self.options;
        let (user, port) = (options.get_username(), options.get_port());
        let database = options.get_database().unwrap_or(user);
        match options.get_socket() {
            Some(folder) => write!(f, "{}:{port}/{database} as {user}", folder.display()),
            None => write!(f, "{}:{port}/{database} as {user}", options.get_host()),
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres at {self}")
    }
}

fn percent_decoded(text: &str) -> String {
    // A form's pairs are decoded alike, but for the plus, which stands for itself here.
    let pair = format!("p={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_serves_both_connections() {
        let address =
            Address::parse("postgres://ana:p%40s+s@db.example:5433/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem")
                .unwrap();
        let config = address.replication("relevo_shop", "relevo_shop", 7);
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("db.example", 5433, "ana"));
        assert_eq!((config.password.as_str(), config.database.as_str()), ("p@s+s", "shop"));
        let options = "postgres://ana@db.example/shop?options=-c%20search_path=x";
        let options = Address::parse(options).unwrap().replication("s", "p", 0).options.unwrap_or_default();
        assert!(options.starts_with("-c search_path=x ") && options.contains("-c timezone=UTC"), "{options}");
        assert_eq!((config.tls.mode, config.tls.ca_pem_path), (SslMode::VerifyFull, Some("/etc/ca.pem".into())));
        assert_eq!(address.to_string(), "db.example:5433/shop as ana");
        let signed = Address::parse("postgres://ana@db.example/shop?sslmode=require&sslrootcert=/ca").unwrap();
        assert!(matches!(signed.options.get_ssl_mode(), PgSslMode::VerifyCa));
        assert_eq!(signed.replication("s", "p", 0).tls.mode, SslMode::VerifyCa);
        for no_host in [
            "postgres:///shop",
            "postgres:///shop?host=::1&password=p%40",
            "postgres://ana:p%40@[::1]/shop",
            "postgres://ana@x/shop?password=p%40",
        ] {
            let config = Address::parse(no_host).unwrap().replication("s", "p", 0);
            assert_eq!(config.password.as_str(), if no_host.contains("p%40") { "p@" } else { "" }, "{no_host}");
        }
        assert!(!format!("{address:?}").contains("p@s"));
    }

    #[test]
    fn files_that_the_address_does_not_name_come_from_the_environment() {
        let address = |more| {
            let environment = |name: &str| Some(format!("/env/{name}").into());
            Address::of(&format!("postgres://ana@db.example/shop{more}"), environment).unwrap()
        };
        let tls = address("").replication("s", "p", 0).tls;
        assert_eq!(tls.ca_pem_path, Some("/env/PGSSLROOTCERT".into()));
        assert_eq!(tls.client_cert_pem_path, Some("/env/PGSSLCERT".into()));
        assert_eq!(tls.client_key_pem_path, Some("/env/PGSSLKEY".into()));
        assert_eq!(address("?sslrootcert=/ca").replication("s", "p", 0).tls.ca_pem_path, Some("/ca".into()));
    }

    #[tokio::test]
    async fn who_cant_connect_says_where_to() {
        let error = Address::parse("postgres://ana:geheim@127.0.0.1:1/shop").unwrap().connect().await.unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("postgres at 127.0.0.1:1/shop as ana: ") && !error.contains("geheim"), "{error}");
        assert!(error.ends_with("; start PostgreSQL, or mend host and port in the url"), "{error}");
    }

    #[test]
    fn a_socket_needs_no_tls() {
        let address = Address::parse("postgres://ana@%2Frun%2Fpg:5433/shop").unwrap();
        let config = address.replication("s", "p", 0);
        assert_eq!((config.host.as_str(), config.tls.mode), ("/run/pg", SslMode::Disable));
        let address = Address::parse("postgres:///shop?host=/run/pg&user=ana").unwrap();
        let config = address.replication("s", "p", 0);
        assert_eq!((config.host.as_str(), config.user.as_str()), ("/run/pg", "ana"));
    }
}
