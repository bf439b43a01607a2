//! Takes everything of ours out of a watched database: the slot, which would keep its WAL for ever, and the
//! publication.

use sqlx::{AssertSqlSafe, Connection as _, Row};

use crate::config::SourceSettings;

use super::super::Detached;
use super::super::error::CaptureError;
use super::catalog::quote;
use super::connect::Address;
use super::silence::within;
use super::slot::{self, Named};

pub(crate) async fn detach(settings: &SourceSettings) -> Result<Detached, CaptureError> {
    let mut db = Address::parse(&settings.url)?.connect().await?;
    let patience = settings.silence;
    let (name, publication) = (settings.slot(), settings.publication());
    let (mut out, mut stays) = (Vec::new(), Vec::new());
    match within(patience, "the look at the slot", slot::look(&mut db, &name)).await? {
        None => {}
        Some(Named::Ours(slot)) => {
            slot::in_use(&mut db, &name, Some(&slot)).await?;
            within(patience, "the drop of the slot", slot::drop(&mut db, &name)).await?;
            out.push(format!("replication slot {name}"));
        }
        Some(Named::SomebodyElses(finding)) => stays.push(format!("{}, so it stays", finding.what)),
    }
    let owned = sqlx::query("SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = $1");
    let owned = within(patience, "the look at the publication", owned.bind(&publication).fetch_optional(&mut db));
    match owned.await?.map(|row| row.try_get::<bool, _>(0)).transpose()? {
        None => {}
        Some(true) => {
            let sql = format!("DROP PUBLICATION {}", quote(&publication));
            let dropped = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db);
            within(patience, "the drop of the publication", dropped).await?;
            out.push(format!("publication {publication}"));
        }
        Some(false) => {
            stays.push(format!(
                "publication {publication} stays, since it belongs to another role (it keeps no WAL); as that or a superuser run: DROP PUBLICATION {};",
                quote(&publication)
            ));
        }
    }
    db.close().await?;
    Ok(Detached { out, stays })
}
