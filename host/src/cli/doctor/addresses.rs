//! The sources' addresses: which database each would be read from, who says so, and whether the journal has read
//! another kind of database under its name so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::capture::{forgotten, postgres};
use crate::config::{Config, SourceSettings};
use crate::event::Name;
use crate::journal::{self, SourceState};

const VARIABLE: &str = "RELEVO_DATABASE_URL";

/// Where addresses come from, and what the journal knows.
pub(super) struct Addresses {
    /// The settings' file; None: the built-in example.
    file: Option<PathBuf>,
    /// The variable gives the first source's.
    variable: bool,
    data: PathBuf,
    known: BTreeMap<Name, SourceState>,
}

impl Addresses {
    /// A journal that can't be read is told of by the journal's own check.
    pub(super) async fn look(config: &Config) -> Self {
        let known = journal::sources(&config.data).await.unwrap_or_default();
        let variable = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
        Self { file: config.file.clone(), variable, data: config.data.clone(), known }
    }

    /// Where the journal stands in a source.
    pub(super) fn known(&self, source: &SourceSettings) -> Option<&SourceState> {
        self.known.get(&*source.name)
    }

    /// What is said of the source at this place of the settings.
    pub(super) fn judge(&self, at: usize, source: &SourceSettings) -> Finding {
        let check = format!("source {}", source.name);
        let by = match &self.file {
            _ if at == 0 && self.variable => VARIABLE.to_owned(),
            Some(file) => file.display().to_string(),
            None if at == 0 => {
                format!("the built-in example, since {VARIABLE} is not set and there is no settings' file")
            }
            None => "the built-in example".to_owned(),
        };
        let found = format!("its database is {}, says {by}", shown(source, &self.data));
        // Where the place was forgotten, nothing says what it was read from.
        let known = self.known.get(&*source.name).filter(|state| forgotten(state).is_none());
        let read = known.map(|state| postgres::is_place(&state.token));
        match read {
            Some(read) if read != source.is_postgres() => {
                let (read, url) = if read { ("PostgreSQL", "postgres://…") } else { ("SQLite", "sqlite:PATH") };
                let found = format!("{found}; but the journal in {} has read it from {read}", self.data.display());
                let remedy = format!(
                    "give what the server was started with: {VARIABLE}={url}, or its settings' file (--config, RELEVO_CONFIG)\n\
                     or set RELEVO_DATA to the folder that belongs to this database; a server that starts so tells its clients of a gap"
                );
                Finding::problem(check, found, remedy)
            }
            _ => Finding::ok(check, found),
        }
    }
}

/// The address without its password.
fn shown(source: &SourceSettings, data: &Path) -> String {
    match source.sqlite_path(data) {
        Some(path) => format!("SQLite, {}", super::sources::whole(&path).display()),
        None => match postgres::address(&source.url) {
            Some(address) => format!("PostgreSQL, {address}"),
            None => "PostgreSQL".to_owned(),
        },
    }
}
