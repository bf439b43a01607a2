//! Whether a source's address can be used: what it names, and what it says behind the `?`.

use url::Url;

use super::{ConfigError, SourceSettings, nearest};

const ALLOWED: &str = "sqlite:PATH, like sqlite:gad.db, or postgres://USER:PASSWORD@HOST/DATABASE";
const ESCAPED: &str = "postgres://USER:PASSWORD@HOST/DATABASE, in USER and PASSWORD with %3A for :, %2F for /, %3F for ?, %23 for #, %5B for [, %5D for ], %40 for @, %25 for %";

/// What may stand behind a PostgreSQL address's `?`: libpq's names, of those that mean to both clients what they mean to
/// libpq. Each may be there once.
const OPTIONS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// What `sslmode` may be. (libpq's `allow` would be `disable` here.)
const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Checks it; `name` is the setting's or the variable's.
pub(super) fn check(name: &str, source: &SourceSettings) -> Result<(), ConfigError> {
    let wrong = |wrong: &str, allowed: &str| {
        Err(ConfigError { name: name.into(), wrong: wrong.into(), allowed: allowed.into() })
    };
    if !source.is_postgres() {
        let shown = source.url.split_once("://").map_or(source.url.as_str(), |(scheme, _)| scheme);
        return match source.sqlite_path("".as_ref()) {
            None => wrong(&format!("{shown:?} can't be used"), ALLOWED),
            // sqlx, and others, would read them: here it would be another file.
            Some(_) if source.url.contains('?') => wrong("a sqlite address has no options (?…)", ALLOWED),
            Some(_) => Ok(()),
        };
    }
    // Behind the host: the password has a `/`, `?` or `#`, what is before it was taken for host and port, and
    // what is behind it for the database, which errors name.
    let parts: Vec<&str> = source.url.splitn(4, ['/', '?', '#']).collect();
    let behind =
        matches!(parts[..], [_, _, host, rest] if host.contains(':') && !host.contains('@') && rest.contains('@'));
    // Never shown: there may be a password in it. So sqlx, whose errors show values, comes last.
    if behind {
        return wrong("the postgres address has an @ behind its host", ESCAPED);
    }
    if let Some(stray) = stray(&source.url) {
        return wrong(&stray, &format!("behind the ?: {}", OPTIONS.join(", ")));
    }
    let is_word = |mode: &str| mode.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    match url_mode(&source.url).filter(|mode| !MODES.contains(&&*mode.to_ascii_lowercase())) {
        Some(mode) if is_word(&mode) => {
            return wrong(&format!("the postgres address has sslmode={mode}"), &MODES.join(", "));
        }
        // What a `&` should have ended.
        Some(_) => return wrong("the postgres address has an sslmode that is none", &MODES.join(", ")),
        None => {}
    }
    match source.url.parse::<sqlx::postgres::PgConnectOptions>() {
        // Behind a `/` in it, the rest of the password was taken for the database's name.
        Ok(options) if options.get_database().is_some_and(|database| database.contains(['@', '/'])) => {
            wrong("the postgres address has an @ or a / in its database's name", ESCAPED)
        }
        Ok(_) => Ok(()),
        Err(e) => {
            let e = e.to_string();
            // Once for each layer of sqlx.
            let why = e.trim_start_matches("error with configuration: ");
            wrong(&format!("the postgres address can't be used ({why})"), ESCAPED)
        }
    }
}

fn url_mode(url: &str) -> Option<String> {
    Url::parse(url).ok()?.query_pairs().find(|(name, _)| name == "sslmode").map(|(_, mode)| mode.into_owned())
}

/// What is wrong with the options: one with a mistake in its name would count for nothing, and of one that stands there
/// twice, or before the `?` as well, it isn't clear which counts; `sslmode` decides who may listen. What isn't near a known name may be a part of a
/// password that has a `&` in it: it isn't shown.
fn stray(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let known = OPTIONS.map(str::to_owned);
    names.iter().enumerate().find_map(|(at, name)| {
        if !known.contains(name) {
            let shown = nearest(name, &known).map(|meant| format!(": {name} (did you mean {meant}?)"));
            let shown = shown.unwrap_or_default();
            return Some(format!("the postgres address has an option that relevo doesn't know{shown}"));
        }
        let before = match name.as_str() {
            "host" => url.host_str().is_some_and(|host| !host.is_empty()),
            "port" => url.port().is_some(),
            "user" => !url.username().is_empty(),
            "password" => url.password().is_some(),
            "dbname" => url.path().len() > 1,
            _ => false,
        };
        (before || names[..at].contains(name)).then(|| format!("the postgres address has {name} twice"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<(), String> {
        let source: SourceSettings = toml::from_str(&format!("name = \"s\"\nurl = {url:?}")).unwrap();
        check("url", &source).map_err(|error| error.to_string())
    }

    #[test]
    fn an_option_that_would_count_for_nothing_is_refused_by_its_name() {
        let good = "postgres://ana@db.example/shop?sslmode=verify-full&sslrootcert=/ca.pem&application_name=x";
        assert_eq!(checked(good), Ok(()));
        assert_eq!(checked("postgres:///shop?host=/run/pg&user=ana&options=-c%20search_path=x"), Ok(()));
        let refused = checked("postgres://ana:geheim@db.example/shop?sslmod=require").unwrap_err();
        assert!(refused.contains("sslmod (did you mean sslmode?)") && refused.contains("sslrootcert,"), "{refused}");
        assert!(!refused.contains("geheim"), "{refused}");
        let refused = checked("postgres://ana@db.example/shop?sslmode=require&sslmode=disable").unwrap_err();
        assert!(refused.contains("sslmode twice"), "{refused}");
        for (twice, name) in [
            ("ana@db/shop?host=other", "host"),
            ("ana@db:1/shop?port=2", "port"),
            ("ana@db/shop?user=bob", "user"),
            ("ana:x@db/shop?password=y", "password"),
            ("ana@db/shop?dbname=y", "dbname"),
        ] {
            let refused = checked(&format!("postgres://{twice}")).unwrap_err();
            assert!(refused.contains(&format!("has {name} twice")), "{twice}: {refused}");
        }
        assert!(
            checked("postgres://ana@db/shop?hostaddr=::1").unwrap_err().contains("an option that relevo doesn't know")
        );
        let refused = checked("postgres://ana@db.example/shop?sslmode=requier").unwrap_err();
        assert!(refused.ends_with("sslmode=requier; allowed: disable, prefer, require, verify-ca, verify-full"));
    }

    #[test]
    fn a_sqlite_address_is_a_path_and_no_more() {
        assert_eq!(checked("sqlite:gad.db"), Ok(()));
        assert!(checked("sqlite:gad.db?mode=ro").unwrap_err().contains("no options"));
    }
}
