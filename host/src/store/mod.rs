//! What the platform keeps for itself beside the journal: the versions of plugins. The pipelines call
//! this room; it is plain files, one folder a version, so that an operator can look and copy.

mod package;
mod versions;

pub use package::{Package, SignatureError, VersionId};
pub use versions::{About, Origin, StoreError, Versions};
