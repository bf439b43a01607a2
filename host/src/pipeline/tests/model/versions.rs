//! The versions that the model deploys: each stamps its messages, and the model knows what it fails at.

use super::super::world::World;
use crate::sandbox::OnFault;
use crate::store::Package;

/// How a version behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// Traps at the rows with this key.
    TrapsAt(u8),
    /// Traps at every row.
    Traps,
    /// Can't start.
    NoStart,
    /// Keeps its state otherwise: it is made anew.
    Otherwise,
    /// Keeps its state otherwise, and brings over that of layout 1.
    Moves,
    /// It can't.
    CanNotMove,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) plugin: &'static str,
    pub(super) stamp: String,
    pub(super) kind: Kind,
    pub(super) on_fault: OnFault,
}

impl Version {
    pub(super) fn fails_at(&self, key: &str) -> bool {
        match self.kind {
            Kind::TrapsAt(at) => key == at.to_string(),
            Kind::Traps => true,
            _ => false,
        }
    }

    /// Whether it may do what it is there for, whatever the events are.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.kind, Kind::Good | Kind::Otherwise)
    }

    /// The key of its state's count.
    pub(super) fn count_key(&self) -> &'static str {
        if self.layout() == 3 { "counts/all" } else { "count" }
    }

    fn layout(&self) -> u32 {
        match self.kind {
            Kind::Otherwise => 2,
            Kind::Moves | Kind::CanNotMove => 3,
            _ => 1,
        }
    }

    pub(super) fn manifest(&self, rows: bool) -> String {
        let on_fault = match self.on_fault {
            OnFault::Skip => "skip",
            OnFault::Hold => "hold",
            OnFault::Bypass => "bypass",
        };
        let (snapshot, first) = if rows { ("snapshot = true\n", "'snapshot', ") } else { ("", "") };
        let how = match self.kind {
            Kind::TrapsAt(at) => format!("do = 'trap-at'\nat = '{at}'"),
            Kind::Traps => "do = 'trap'".into(),
            Kind::NoStart => "do = 'init'".into(),
            Kind::CanNotMove => "do = 'migrate-trap'".into(),
            Kind::Good | Kind::Otherwise | Kind::Moves => String::new(),
        };
        format!(
            "name = '{}'\nversion = '{stamp}'\nchannels = ['stamped']\ncapabilities = ['state']\nstate_layout = {}\non_fault = '{on_fault}'\n{snapshot}\
             events = {{ accounts = [{first}'insert', 'update', 'delete'] }}\n[config]\nstamp = '{stamp}'\n{how}\n",
            self.plugin,
            self.layout(),
            stamp = self.stamp,
        )
    }

    pub(super) fn component(&self) -> &'static str {
        if self.layout() == 3 { "mover" } else { "stamp" }
    }

    pub(super) fn package(&self, rows: bool) -> Package {
        World::package(self.component(), self.manifest(rows))
    }
}
