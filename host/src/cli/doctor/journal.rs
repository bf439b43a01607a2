//! The journal: can it be opened, is its format ours, is its time past.

use super::Finding;
use crate::config::Config;
use crate::event::Micros;
use crate::journal::{self, JournalError};

/// How far clocks are apart that nobody set.
const SLACK: u64 = 5_000_000;

pub(super) async fn all(config: &Config) -> Vec<Finding> {
    match journal::inspect(&config.data).await {
        Ok(None) => vec![Finding::ok("journal", "there is none yet; the first start makes it")],
        Ok(Some(found)) => vec![judge(found.format, found.newest, Micros::now())],
        Err(error) => vec![refused(&error)],
    }
}

fn judge(format: i64, newest: Option<Micros>, now: Micros) -> Finding {
    match newest {
        Some(newest) if newest.0 > now.0 + SLACK => {
            let found = format!("its newest record is of {}, the clock shows {}", newest.rfc3339(), now.rfc3339());
            let remedy = "set the clock (timedatectl set-ntp true): until it is past that, times stand still";
            Finding::problem("clock", found, remedy)
        }
        _ => {
            let newest = newest.map_or("empty".into(), |newest| format!("newest record {}", newest.rfc3339()));
            Finding::ok("journal", format!("format {format}, {newest}"))
        }
    }
}

fn refused(error: &JournalError) -> Finding {
    let remedy = match error {
        JournalError::Corrupt { .. } => {
            "restore a backup of the data folder, or move the file away: clients then see a new epoch"
        }
        JournalError::Format { .. } => "run the relevo version that wrote it, or a newer one than this",
        _ => "let the user that relevo runs as read and write the data folder",
    };
    Finding::problem("journal", error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_journal_from_the_future_is_a_problem_of_the_clock() {
        let now = Micros(1_000_000_000);
        assert_eq!(judge(1, Some(Micros(now.0 + SLACK)), now).verdict, Verdict::Ok);
        let finding = judge(1, Some(Micros(now.0 + SLACK + 1)), now);
        assert_eq!((finding.check.as_str(), finding.verdict), ("clock", Verdict::Problem));
        assert_eq!(judge(1, None, now).found, "format 1, empty");
    }

    #[test]
    fn another_format_says_which_version_to_run() {
        let error = JournalError::Format { path: "journal.db".into(), found: 9, reads: 1 };
        assert!(refused(&error).remedy.unwrap().contains("version that wrote it"));
    }
}
