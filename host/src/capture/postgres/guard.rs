//! How near the slot is to its loss, as the server tells it. `pulse` looks now and then, `relevo capture
//! status` once.

use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::super::error::CaptureError;
use super::slot::why_lost;

/// The replication slot of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotHealth {
    pub name: String,
    /// PostgreSQL's own word: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: String,
    /// From 17 on: why it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidation_reason: Option<String>,
    /// Somebody reads from it.
    pub active: bool,
    /// What the server keeps for it.
    pub retained_bytes: u64,
    /// What may be written to the WAL until it is lost; None: without limit (`max_slot_wal_keep_size`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_bytes: Option<u64>,
    /// What was written to the WAL and is not acknowledged.
    pub lag_bytes: u64,
}

impl SlotHealth {
    /// Nothing can be read from it any more.
    fn is_lost(&self) -> bool {
        self.wal_status == "lost" || self.invalidation_reason.is_some()
    }

    /// Why it is in danger or lost, and what to do. Below a quarter of the room; `told`: that was said of it, and it is
    /// out of danger only from half of the room on.
    pub fn risk(&self, told: bool) -> Option<String> {
        if self.is_lost() {
            let (why, mend) = why_lost(self.invalidation_reason.as_deref());
            return Some(format!(
                "replication slot {} is lost, since {why}: what it had not read can't be had from it; when it runs, relevo tells of a gap, makes another slot, and rebuilds; {mend}",
                self.name
            ));
        }
        let room = self.safe_bytes.map(|safe| safe.saturating_add(self.retained_bytes));
        let (safe, parts) = (self.safe_bytes.unwrap_or(u64::MAX), if told { 2 } else { 4 });
        let near = room.is_some_and(|room| safe < room / parts);
        let beyond = self.wal_status == "unreserved";
        (near || beyond).then(|| {
            format!(
                "replication slot {} is {}: the server keeps {} MiB of WAL for it, and {} MiB more until it is lost; raise max_slot_wal_keep_size, or find out what holds relevo up",
                self.name,
                self.wal_status,
                self.retained_bytes >> 20,
                self.safe_bytes.unwrap_or_default() >> 20
            )
        })
    }
}

/// None: there is no such slot, or it is somebody else's. A standby may have one, too: the preflight, which refuses it,
/// looks at that as well.
pub(crate) async fn look(db: &mut PgConnection, name: &str) -> Result<Option<SlotHealth>, CaptureError> {
    let row = sqlx::query(
        "SELECT coalesce(wal_status, 'lost'), to_jsonb(s) ->> 'invalidation_reason', active, \
           coalesce(now - restart_lsn, 0)::int8, safe_wal_size, coalesce(now - confirmed_flush_lsn, 0)::int8 \
         FROM pg_replication_slots s, \
           LATERAL (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END) AS w (now) \
         WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = current_database()",
    )
    .bind(name)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let bytes = |at: usize| -> sqlx::Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default()) };
    let safe: Option<i64> = row.try_get(4)?;
    Ok(Some(SlotHealth {
        name: name.to_owned(),
        wal_status: row.try_get(0)?,
        invalidation_reason: row.try_get(1)?,
        active: row.try_get(2)?,
        retained_bytes: bytes(3)?,
        safe_bytes: safe.map(|safe| u64::try_from(safe).unwrap_or_default()),
        lag_bytes: bytes(5)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(status: &str, retained: u64, safe: Option<u64>) -> SlotHealth {
        SlotHealth {
            name: "relevo_s".into(),
            wal_status: status.into(),
            invalidation_reason: None,
            active: true,
            retained_bytes: retained << 20,
            safe_bytes: safe.map(|safe| safe << 20),
            lag_bytes: 0,
        }
    }

    #[test]
    fn a_slot_is_at_risk_in_the_last_quarter_of_its_room_and_until_half_of_it() {
        assert_eq!(slot("reserved", 9_000, None).risk(false), None, "without a limit");
        assert_eq!(slot("reserved", 75, Some(25)).risk(false), None);
        let risk = slot("extended", 76, Some(24)).risk(false).unwrap();
        assert!(risk.contains("76 MiB") && risk.contains("24 MiB more"), "{risk}");
        assert!(slot("extended", 51, Some(49)).risk(true).is_some());
        assert_eq!(slot("extended", 50, Some(50)).risk(true), None);
        assert!(slot("unreserved", 1, Some(0)).risk(false).is_some());
        let lost = SlotHealth { invalidation_reason: Some("wal_removed".into()), ..slot("lost", 0, None) };
        let said = lost.risk(false).unwrap();
        assert!(said.contains("max_slot_wal_keep_size") && said.contains("gap") && !said.contains("MiB"), "{said}");
        let idle = SlotHealth { invalidation_reason: Some("idle_timeout".into()), ..slot("lost", 0, None) };
        let said = idle.risk(false).unwrap();
        assert!(said.contains("idle_replication_slot_timeout to 0") && !said.contains("wal_keep"), "{said}");
    }
}
