//! What a pipeline's plugins want to see, compiled from their manifests: asked for every event.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::column::Column;
use crate::config::Config;
use crate::event::{Body, Change, Event, Name, Operation};
use crate::message::ChannelPattern;
use crate::sandbox::Manifest;

/// One bit for each plugin of a pipeline, in order.
pub(super) type Mask = u64;

/// What a pipeline keeps of its source's rows. It is stored with the state: a manifest that asks
/// for something else means that the state has to be made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// By plugin: the tables whose rows it wants at its first start.
    pub(super) snapshot: BTreeMap<Name, BTreeSet<Name>>,
    /// Reference tables and their columns, those of all plugins together.
    pub(super) lookup: BTreeMap<Name, BTreeSet<Box<str>>>,
}

impl Kept {
    /// The tables whose rows it needs.
    pub(super) fn tables(&self) -> BTreeSet<Name> {
        self.snapshot.values().flatten().chain(self.lookup.keys()).cloned().collect()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Wants {
    tables: HashMap<Name, [Mask; OPERATIONS]>,
    /// By table.
    changed: HashMap<Name, Vec<Narrowed>>,
    ticks: Mask,
    published: Vec<(ChannelPattern, Mask)>,
    /// Which plugins get a table's rows from a snapshot.
    rows: HashMap<Name, Mask>,
    /// Every publication (the built-in pipeline).
    all_published: Mask,
    pub(super) kept: Kept,
    /// Where the kept rows come from.
    pub(super) source: Option<Name>,
}

/// A plugin that wants only updates which change one of these columns.
struct Narrowed {
    plugin: Mask,
    columns: Vec<Column>,
}

impl Narrowed {
    /// A column that the row doesn't have (the table has none of that name, or it is excluded) may have changed.
    fn is_touched(&self, change: &Change) -> bool {
        may_change(change, self.columns.iter().map(|column| &column.name))
            || !self.columns.iter().all(|column| column.is_of(change))
    }
}

const OPERATIONS: usize = 5;

fn index(operation: Operation) -> usize {
    match operation {
        Operation::Insert => 0,
        Operation::Update => 1,
        Operation::Delete => 2,
        Operation::Truncate => 3,
        Operation::Snapshot => 4,
    }
}

impl Wants {
    /// Whether what a source lost, of these tables or of all, is of the rows that are kept.
    pub(super) fn loses(&self, source: &Name, tables: Option<&[Name]>) -> bool {
        let kept = self.kept.tables();
        self.source.as_ref() == Some(source) && tables.is_none_or(|lost| lost.iter().any(|table| kept.contains(table)))
    }

    /// # Errors
    /// If no source watches a table whose rows are wanted, or not one source all of them.
    pub(super) fn new<'a>(manifests: impl Iterator<Item = &'a Manifest>, config: &Config) -> Result<Self, String> {
        let mut wants = Self::default();
        for (at, manifest) in manifests.enumerate() {
            wants.add(1 << at, manifest);
        }
        wants.source = source_of(&wants.kept, config)?;
        Ok(wants)
    }

    /// What the built-in pipeline wants: everything that is published.
    pub(super) fn publications() -> Self {
        Self { all_published: 1, ..Self::default() }
    }

    fn add(&mut self, bit: Mask, manifest: &Manifest) {
        let mut snapshot = BTreeSet::new();
        for (table, operations) in &manifest.events {
            let masks = self.tables.entry(table.clone()).or_default();
            for operation in operations {
                masks[index(*operation)] |= bit;
            }
            if operations.contains(&Operation::Snapshot) {
                snapshot.insert(table.clone());
            }
        }
        for (table, columns) in &manifest.changed {
            let columns = columns.iter().map(|column| Column::new(column)).collect();
            self.changed.entry(table.clone()).or_default().push(Narrowed { plugin: bit, columns });
        }
        if manifest.snapshot {
            for table in &snapshot {
                *self.rows.entry(table.clone()).or_default() |= bit;
            }
            self.kept.snapshot.insert(manifest.name.clone(), snapshot);
        }
        for (table, columns) in &manifest.lookup {
            self.kept.lookup.entry(table.clone()).or_default().extend(columns.iter().cloned());
        }
        if manifest.ticks {
            self.ticks |= bit;
        }
        self.published.extend(manifest.published.iter().map(|pattern| (pattern.clone(), bit)));
    }

    /// Which plugins want the event.
    pub(super) fn mask(&self, event: &Event) -> Mask {
        match &event.body {
            Body::Change(change) => {
                let mask = self.tables.get(&change.table).map_or(0, |masks| masks[index(change.operation)]);
                if mask == 0 || change.operation != Operation::Update { mask } else { mask & !self.untouched(change) }
            }
            Body::Tick { .. } => self.ticks,
            Body::Published(published) => self
                .published
                .iter()
                .filter(|(pattern, _)| pattern.matches(&published.channel))
                .fold(self.all_published, |mask, (_, bit)| mask | bit),
        }
    }

    /// Which plugins an update doesn't concern: it changes none of the columns that they name.
    fn untouched(&self, change: &Change) -> Mask {
        let named = self.changed.get(&change.table).map(Vec::as_slice).unwrap_or_default();
        named.iter().filter(|named| !named.is_touched(change)).fold(0, |mask, named| mask | named.plugin)
    }

    /// Which plugins have already been told of a change by the snapshot that contains it.
    pub(super) fn told(&self, event: &Event) -> Mask {
        match &event.body {
            Body::Change(change) => self.rows.get(&change.table).copied().unwrap_or_default(),
            Body::Published(_) | Body::Tick { .. } => 0,
        }
    }

    /// Whether it sees events that no snapshot's rows stand for: publications, or changes of tables
    /// whose rows a plugin doesn't want.
    pub(super) fn more_than_rows(&self) -> bool {
        let rows = |table: &Name| self.rows.get(table).copied().unwrap_or_default();
        let beyond = |(table, masks): (&Name, &[Mask; OPERATIONS])| masks.iter().any(|mask| mask & !rows(table) != 0);
        self.all_published != 0 || !self.published.is_empty() || self.tables.iter().any(beyond)
    }

    /// The change, if it may alter what a reference table keeps.
    pub(super) fn reference<'e>(&self, event: &'e Event) -> Option<&'e Change> {
        let Body::Change(change) = &event.body else { return None };
        let columns = self.kept.lookup.get(&change.table)?;
        if self.source.as_ref() != Some(&event.source) {
            return None;
        }
        // A table of people is also one of their whereabouts: most updates touch no kept column.
        may_change(change, columns).then_some(change)
    }
}

/// Whether one of these columns may have another value than before. Where the row before isn't known, it may.
fn may_change<'c>(change: &Change, columns: impl IntoIterator<Item = &'c Box<str>>) -> bool {
    change.operation != Operation::Update
        || change.before.is_none()
        || columns.into_iter().any(|column| change.changed.iter().any(|name| **name == **column))
}

fn source_of(kept: &Kept, config: &Config) -> Result<Option<Name>, String> {
    let mut found: Option<Name> = None;
    for table in kept.tables() {
        let source = config
            .sources
            .iter()
            .find(|source| source.watches(&table))
            .ok_or_else(|| format!("no [[source]] watches table {table}, whose rows it wants"))?;
        match &found {
            Some(other) if *other != source.name => {
                return Err(format!("it wants rows of two sources, {other} and {}; allowed: one", source.name));
            }
            _ => found = Some(source.name.clone()),
        }
    }
    Ok(found)
}
