//! A look: one transaction that takes an id, sees whose transactions have not ended, and leaves
//! a message in WAL whose commit flushes everything before it.

use pointsman_catalog::ServerName;

use super::super::{
    control_sessions::ControlSessions, own_transaction::own_transaction, text::literal,
};
use crate::{
    Lsn,
    ports::{Look, ProviderError},
};

/// Takes a look, in one round trip. `question` is asked in the same transaction; its first row
/// is returned beside the look.
pub(super) async fn take(
    control: &ControlSessions,
    what: &str,
    (prefix, content): (&str, &str),
    question: Option<String>,
) -> Result<(Look, Option<String>), ProviderError> {
    let mut statements = vec![
        own_transaction(what),
        format!(
            "SELECT concat_ws(' ', ({VACUUMS}), pg_current_xact_id(), pg_current_snapshot(), \
             pg_logical_emit_message(true, {}, {}))",
            literal(prefix),
            literal(content)
        ),
        format!("SELECT concat_ws(' ', ({VACUUMS}), ({LOCKED}))"),
    ];
    statements.extend(question);
    let rows = control.postgres.block(what, &statements).await?;
    let look = match rows.as_slice() {
        [seen, locked, ..] => parsed(seen, locked),
        [] | [_] => None,
    };
    let look = look.ok_or_else(|| failed(&control.server.name, what, "the look cannot be read"))?;
    let look = told_whole(look).map_err(|many| failed(&control.server.name, what, many))?;
    Ok((look, rows.into_iter().nth(2)))
}

/// Of more than it may name a look would leave some out.
fn told_whole(look: Look) -> Result<Look, String> {
    match look.open.len() {
        0..=MOST_OPEN => Ok(look),
        many => Err(format!("{many} transactions had not ended")),
    }
}

/// `VACUUMS; ID XMIN:XMAX:XIP,… LSN`, and `VACUUMS; LOCKED`: the low 32 bits of the ids of autovacuum's
/// workers before the look and after it, and those that others hold locks on.
///
/// A worker writes statistics and no user's row, so it is none of those that are open.
///
/// The insert before has taken the id, so the snapshot is younger than the id. A transaction
/// with a lower id that the snapshot does not show as ended has not ended: an id is in the
/// process array before the next one is given out. The lock on an id is taken later, and says
/// more in one case: a snapshot leaves out the id of a lazy VACUUM.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>
fn parsed(seen: &str, locked: &str) -> Option<Look> {
    let (vacuums, seen) = seen.split_once("; ")?;
    let (more_vacuums, locked) = locked.split_once("; ")?;
    let [xid, snapshot, lsn] = seen.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let xid: u64 = xid.parse().ok()?;
    let vacuums = ids(vacuums)?.into_iter().chain(ids(more_vacuums)?);
    let vacuums: Vec<_> = vacuums.map(|low| widened(low, xid)).collect();
    let [_, xmax, running] = snapshot.split(':').collect::<Vec<_>>().try_into().ok()?;
    let xmax: u64 = xmax.parse().ok()?;
    let locked = ids(locked)?.into_iter().map(|low| widened(low, xid));
    // So many that it is an error, and no more.
    let later = (xmax..xid).take(MOST_OPEN + 1);
    let mut open: Vec<u64> = ids(running)?
        .into_iter()
        .chain(later)
        .chain(locked)
        .collect();
    open.retain(|id| *id < xid && !vacuums.contains(id));
    open.sort_unstable();
    open.dedup();
    Some(Look {
        lsn: lsn.parse().ok()?,
        xid,
        open,
        own: Vec::new(),
    })
}

/// The id with these low 32 bits that is nearest to `near`.
fn widened(low: u64, near: u64) -> u64 {
    const EPOCH: u64 = 1 << 32;
    let behind = near.wrapping_sub(low) % EPOCH;
    if behind < EPOCH / 2 {
        near - behind
    } else {
        near + (EPOCH - behind)
    }
}

/// Numbers with commas between them.
pub(super) fn ids(list: &str) -> Option<Vec<u64>> {
    let numbers = list.split(',').filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().ok()).collect()
}

/// A transactional message, as a statement of its own. Returns its id and its end.
pub(super) fn emit((prefix, content): (&str, &str)) -> String {
    format!(
        "SELECT concat_ws(' ', pg_current_xact_id(), pg_logical_emit_message(true, {}, {}))",
        literal(prefix),
        literal(content)
    )
}

/// What [`emit`] returned.
pub(super) fn written(
    server: &ServerName,
    what: &str,
    rows: &[String],
) -> Result<(u64, Lsn), ProviderError> {
    let words = rows.first().and_then(|row| row.split_once(' '));
    words
        .and_then(|(xid, lsn)| Some((xid.parse().ok()?, lsn.parse().ok()?)))
        .ok_or_else(|| failed(server, what, "the server returned no position"))
}

/// Loads what a look uses; a standby can do that, too.
pub(super) async fn warm_up(control: &ControlSessions) -> Result<(), ProviderError> {
    let look = format!("SELECT pg_current_snapshot(); {VACUUMS}; {LOCKED}");
    control.postgres.batch("warm up", &look).await?;
    Ok(())
}

pub(super) fn failed(server: &ServerName, what: &str, reason: impl Into<String>) -> ProviderError {
    ProviderError::Failed {
        server: server.clone(),
        what: what.to_owned(),
        reason: reason.into(),
    }
}

const LOCKED: &str = "SELECT coalesce(string_agg(transactionid::text, ','), '') FROM pg_locks \
     WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' \
       AND pid IS DISTINCT FROM pg_backend_pid()";

/// Who may not see other roles' sessions sees none of them.
const VACUUMS: &str = "SELECT coalesce(string_agg(backend_xid::text, ','), '') || ';' \
     FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'";

/// Behind a fence there are none; a look is to stay small in any case.
const MOST_OPEN: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(seen: &str, locked: &str) -> Vec<u64> {
        parsed(&format!("; {seen}"), &format!("; {locked}"))
            .unwrap()
            .open
    }

    #[test]
    fn autovacuum_is_nobody_who_could_have_written() {
        let open = |seen, locked| parsed(seen, locked).unwrap().open;
        assert_eq!(open("729; 731 729:729: 0/10", "; "), [730]);
        assert_eq!(open("; 731 729:729: 0/10", "729,728; 728,730"), [730]);
    }

    #[test]
    fn what_is_not_seen_to_have_ended_has_not() {
        assert_eq!(open("731 731:731: 0/10", ""), [0_u64; 0]);
        // Given out before the look's own id, and not ended.
        assert_eq!(open("731 729:729: 0/10", ""), [729, 730]);
        // A younger one has ended meanwhile.
        assert_eq!(open("731 725:733:725,732 0/10", ""), [725]);
        assert_eq!(open("731 731:731: 0/10", "728,735"), [728]);
    }

    #[test]
    fn locks_are_on_ids_without_their_epoch() {
        let epoch = 1 << 32;
        let seen = format!("{} {}:{0}: 0/10", epoch + 5, epoch + 5);
        assert_eq!(open(&seen, "4,4294967290"), [4_294_967_290, epoch + 4]);
        assert_eq!(widened(7, epoch + 5), epoch + 7);
        assert_eq!(widened(7, 5), 7);
    }

    #[test]
    fn a_look_is_not_open_itself_and_never_larger_than_one_too_many() {
        assert_eq!(open("731 725:733:725,731,732 0/10", "731"), [725]);
        let many = open("9000 7000:7000: 0/10", "");
        assert_eq!(many.len(), MOST_OPEN + 1);
        assert_eq!(many.first(), Some(&7000));
    }

    #[test]
    fn a_look_that_would_leave_out_whoever_had_not_ended_is_none() {
        let look = |count: u64| parsed(&format!("; 9000 {0}:{0}: 0/10", 9000 - count), "; ");
        let most = look(1000).unwrap();
        assert_eq!(told_whole(most.clone()), Ok(most));
        let many = told_whole(look(1001).unwrap()).unwrap_err();
        assert_eq!(many, "1001 transactions had not ended");
    }

    #[test]
    fn of_two_ids_that_are_equally_near_the_younger_one_is_meant() {
        let epoch = 1 << 32;
        assert_eq!(widened(0, epoch + epoch / 2), 2 * epoch);
        assert_eq!(widened(1, epoch + epoch / 2), epoch + 1);
    }

    #[test]
    fn a_message_is_written_with_its_id_by_a_statement_of_its_own() {
        assert_eq!(
            emit(("pointsman.fence", "it's")),
            "SELECT concat_ws(' ', pg_current_xact_id(), \
             pg_logical_emit_message(true, 'pointsman.fence', 'it''s'))"
        );
    }

    #[test]
    fn an_answer_of_another_form_is_no_look() {
        for seen in [
            "",
            "; 731",
            "; 731 731:731 0/10",
            "; x 731:731: 0/10",
            "731 731:731: 0/10",
            "x; 731 731:731: 0/10",
        ] {
            assert_eq!(parsed(seen, "; "), None, "{seen}");
        }
        for locked in ["", "; x", "x; "] {
            assert_eq!(parsed("; 731 731:731: 0/10", locked), None, "{locked}");
        }
    }
}
