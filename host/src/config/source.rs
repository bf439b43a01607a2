//! The settings of a database that is watched, `[[source]]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{defaults, human};
use crate::event::Name;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    pub name: Name,
    /// `sqlite:PATH` or `postgres://…`. `RELEVO_DATABASE_URL` sets that of the first source. A relative
    /// path starts at the data folder.
    pub url: String,
    /// The tables to watch; empty: all. In PostgreSQL also `SCHEMA.TABLE`, where it isn't `public`.
    #[serde(default)]
    pub tables: Vec<Name>,
    /// Columns that never enter the journal, by table.
    #[serde(default)]
    pub exclude: BTreeMap<Name, Vec<Box<str>>>,
    /// The example whose migrations, seed and simulation belong to this source.
    pub example: Option<String>,
    /// PostgreSQL: the replication slot; default `relevo_NAME`.
    pub slot: Option<String>,
    /// PostgreSQL: the publication; default `relevo_NAME`.
    pub publication: Option<String>,
    /// How often watermarks are appended.
    #[serde(default = "defaults::tick", with = "human::duration")]
    pub tick: Duration,
    /// The safety net's poll for changes that no notification told of.
    #[serde(default = "defaults::poll", with = "human::duration")]
    pub poll: Duration,
    /// PostgreSQL: how often it is looked at how near the slot is to its loss.
    #[serde(default = "defaults::guard", with = "human::duration")]
    pub guard: Duration,
    /// PostgreSQL: after so long without a sign of life the connection is opened anew.
    #[serde(default = "defaults::silence", with = "human::duration")]
    pub silence: Duration,
}

/// Before a table of PostgreSQL's usual schema.
const PUBLIC: &str = "public.";

impl SourceSettings {
    /// The SQLite file that the URL names, a relative path taken from the data folder; None if the
    /// URL is for something else.
    pub fn sqlite_path(&self, data: &Path) -> Option<PathBuf> {
        let path = self.url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        (!path.is_empty() && !path.starts_with(':')).then(|| data.join(path))
    }

    /// What to do about a table that isn't there.
    pub(crate) fn make_it(&self) -> &'static str {
        if self.example.is_some() { "make it (`relevo migrate`)" } else { "make it" }
    }

    /// What to do about tables of `tables` that aren't there.
    pub(crate) fn make_them(&self) -> &'static str {
        if self.example.is_some() {
            "make what is missing (`relevo migrate`, with --seed the example's rows, too), or take it out of `tables`"
        } else {
            "make what is missing, or take it out of `tables`"
        }
    }

    /// Whether the URL is of a PostgreSQL database.
    pub fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.url.starts_with(scheme))
    }

    /// Whether it watches a table, by the name that events have; one that names none watches all. PostgreSQL's
    /// `public` is no part of that name, also where the settings say it.
    pub fn watches(&self, table: &str) -> bool {
        let named = |entry: &str| -> bool {
            let entry = if self.is_postgres() { entry.strip_prefix(PUBLIC).unwrap_or(entry) } else { entry };
            entry.eq_ignore_ascii_case(table)
        };
        let never = self.is_postgres() && table.starts_with(PUBLIC);
        !never && (self.tables.is_empty() || self.tables.iter().any(|entry| named(entry)))
    }

    /// The name of the replication slot.
    pub fn slot(&self) -> String {
        self.slot.clone().unwrap_or_else(|| self.default_name())
    }

    /// The name of the publication.
    pub fn publication(&self) -> String {
        self.publication.clone().unwrap_or_else(|| self.default_name())
    }

    fn default_name(&self) -> String {
        let name: String = self.name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect();
        format!("relevo_{name}").chars().take(63).collect()
    }
}
