//! Room on the disk for the record of a switch.

use async_trait::async_trait;
use serde_json::json;

use super::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct JournalRoom;

const SPEC: CheckSpec = CheckSpec::block("C89", "control.journal-room");

#[async_trait]
impl Check for JournalRoom {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let judgement = ctx.journal_room.as_ref().map(|&room| judge(room));
        let judgement = judgement.map_err(Clone::clone);
        vec![SPEC.finding(ctx, "control plane", ctx.clock.monotonic(), judgement)]
    }
}

fn judge(room: u64) -> Judgement {
    let mib = room >> 20;
    let remedy = "free some on the disk of the data directory (serve --data-dir)";
    let mut judgement = if room < NEEDED {
        Judgement::fail(
            format!(
                "{mib} MiB are free for the journal, {} MiB are needed: a switch whose record cannot be written \
                 stops where it stands, with both servers closed at worst",
                NEEDED >> 20
            ),
            remedy,
        )
    } else if room < AMPLE {
        Judgement::warn(
            format!("only {mib} MiB are free for the journal, and the bake goes on writing it"),
            remedy,
        )
    } else {
        Judgement::pass(format!("{mib} MiB are free for the journal"))
    };
    judgement.evidence.push(json!({ "free_bytes": room }));
    judgement
}

/// Far more than the records of a switch there and back; the store's file grows in steps.
const NEEDED: u64 = 64 << 20;
const AMPLE: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    #[test]
    fn little_room_warns_and_too_little_blocks() {
        assert_eq!(judge(AMPLE).grade, Grade::Pass);
        assert_eq!(judge(AMPLE - 1).grade, Grade::Warn);
        assert_eq!(judge(NEEDED).grade, Grade::Warn);
        assert_eq!(judge(NEEDED - 1).grade, Grade::Fail);
    }
}
