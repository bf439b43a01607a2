//! Partitions, as the stream describes them: right behind their root, before the first row of each. A session
//! learns from it whose old rows can't be trusted, from that row on.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::types::Oid;

use super::super::error::CaptureError;
use super::decode::RelationMessage;
use super::stream::Session;
use super::transport::Transport;

/// What the stream said of partitions, by OID.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The table that was described last, if no row came since.
    described: Option<u32>,
    /// Partitions without a full replica identity, and their root.
    poor: HashMap<u32, u32>,
}

impl Parts {
    pub(crate) fn describe(&mut self, table: u32) {
        self.described = Some(table);
    }

    /// The table that was described right before this, whatever comes now.
    pub(crate) fn behind(&mut self) -> Option<u32> {
        self.described.take()
    }

    /// Some of its partitions have no full replica identity.
    pub(crate) fn are_mixed(&self, root: u32) -> bool {
        self.poor.values().any(|of| *of == root)
    }
}

impl<T: Transport> Session<'_, T> {
    /// Takes note of a partition that is described behind its root. False: it is another table. Asks for its
    /// kind alone, since a table may have thousands of partitions.
    pub(super) async fn partition(&mut self, message: &RelationMessage<'_>, root: u32) -> Result<bool, CaptureError> {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = $1 AND NOT relispartition)";
        // One that was dropped since was a partition, as well as we know.
        if !sqlx::query_scalar::<_, bool>(sql).bind(Oid(message.id)).fetch_one(&mut self.db).await? {
            return Ok(false);
        }
        if message.identity == b'f' {
            self.parts.poor.remove(&message.id);
        } else {
            self.parts.poor.insert(message.id, root);
        }
        if let Some(Some(relation)) = self.relations.get_mut(&root) {
            Arc::make_mut(relation).mixed = self.parts.are_mixed(root);
        }
        self.relations.insert(message.id, None);
        Ok(true)
    }
}
