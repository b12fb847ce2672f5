use serde::Deserialize;

use super::super::text::literal;
use crate::ports::{Finding, Look, Strangers};

/// The ids since a look that neither the engine took nor an aborted transaction.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Account {
    count: u64,
    /// Ids that were not looked at, because there were too many.
    beyond: u64,
    /// The first few.
    xids: Vec<u64>,
    /// Databases that accept connections and that the control role does not own.
    not_closable: Vec<String>,
    /// Databases that one of those transactions made or changed.
    changed: Vec<String>,
    /// What the engine has noted of a broken fence since the look.
    breaches: Vec<String>,
    /// Whether autovacuum can work in a closed database.
    autovacuum: bool,
}

impl Account {
    /// An id does not say what was written. Nobody but the owners of databases that cannot be
    /// closed can have taken one where all others stayed closed, by rows of `pg_database` that
    /// no stranger wrote, and autovacuum does not run. A row that the engine itself wrote when it
    /// closed a database again shows no stranger: the note of that breach does. That the others
    /// are empty, too, is the fence's proof.
    pub(super) fn finding(self) -> Finding {
        let strangers = Strangers {
            count: self.count + self.beyond,
            xids: self.xids,
            not_closable: self.not_closable,
            changed: self.changed,
            breaches: self.breaches,
        };
        let owners_alone = !strangers.not_closable.is_empty()
            && strangers.changed.is_empty()
            && strangers.breaches.is_empty()
            && !self.autovacuum
            && self.beyond == 0;
        match (strangers.count, owners_alone) {
            (0, _) => Finding::Unwritten,
            (_, true) => Finding::Accepted(strangers),
            (_, false) => Finding::Unproven(strangers),
        }
    }
}

/// The statement whose row is the account since `since`.
pub(super) fn question(since: &Look) -> String {
    ACCOUNT
        .replace("BREACH", &literal(BREACH))
        .replace("AUTOVACUUM", AUTOVACUUM)
        .replace("FIRST", &(since.xid + 1).to_string())
        .replace("OPEN", &array(&since.open))
        .replace("OWN", &array(&since.own))
}

/// What a transaction of the engine's own is called that notes a breach.
pub(super) fn breach(seen: &str) -> String {
    format!("{BREACH}{seen}")
}

fn array(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    format!("'{{{}}}'::bigint[]", ids.join(","))
}

/// The engine's own ids are the `xmin` of rows that nobody else can have written, each in the
/// transaction that it names. A status that is not known any more counts. A note is younger than
/// the look if its id is less than half of all ids ahead.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>
const ACCOUNT: &str = "WITH own AS MATERIALIZED ( \
       SELECT xmin::text::bigint AS id FROM pointsman.transactions), \
     taken (id) AS ( \
       SELECT unnest(OPEN) \
       UNION SELECT generate_series(FIRST, \
         least(pg_current_xact_id()::text::bigint - 1, FIRST + 9999))), \
     stranger AS MATERIALIZED ( \
       SELECT id FROM taken WHERE id <> ALL (OWN) \
         AND (id & 4294967295) NOT IN (SELECT own.id FROM own) \
         AND pg_xact_status(id::text::xid8) IS DISTINCT FROM 'aborted') \
     SELECT json_build_object( \
       'count', (SELECT count(*) FROM stranger), \
       'beyond', greatest(0, pg_current_xact_id()::text::bigint - FIRST - 10000), \
       'xids', ARRAY(SELECT id FROM stranger ORDER BY id LIMIT 8), \
       'not_closable', ARRAY(SELECT datname::text FROM pg_database \
         WHERE datallowconn AND NOT pg_has_role(datdba, 'USAGE') ORDER BY 1), \
       'changed', ARRAY(SELECT DISTINCT datname::text FROM pg_database d JOIN stranger s \
         ON d.xmin::text::bigint = s.id & 4294967295), \
       'breaches', ARRAY(SELECT DISTINCT substr(what, length(BREACH) + 1) FROM pointsman.transactions \
         WHERE starts_with(what, BREACH) \
           AND (xmin::text::bigint - FIRST) & 4294967295 < 2147483648 ORDER BY 1), \
       'autovacuum', AUTOVACUUM)";

/// Whether autovacuum can work in a closed database.
pub(super) const AUTOVACUUM: &str = "(current_setting('autovacuum')::bool \
       AND current_setting('track_counts')::bool OR EXISTS (SELECT FROM pg_database \
         WHERE age(datfrozenxid) > current_setting('autovacuum_freeze_max_age')::int \
           OR mxid_age(datminmxid) > current_setting('autovacuum_multixact_freeze_max_age')::int))";

const BREACH: &str = "breach: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            count: 1,
            beyond: 0,
            xids: vec![731],
            not_closable: vec!["rdsadmin".to_owned()],
            changed: Vec::new(),
            breaches: Vec::new(),
            autovacuum: false,
        }
    }

    #[test]
    fn a_strangers_id_is_accepted_only_where_nobody_but_an_owner_can_have_taken_it() {
        assert!(matches!(account().finding(), Finding::Accepted(_)));
        let doubtful = [
            Account {
                not_closable: Vec::new(),
                ..account()
            },
            Account {
                changed: vec!["orders".to_owned()],
                ..account()
            },
            Account {
                breaches: vec!["database orders is open".to_owned()],
                ..account()
            },
            Account {
                autovacuum: true,
                ..account()
            },
            Account {
                beyond: 1,
                ..account()
            },
        ];
        for account in doubtful {
            let finding = account.clone().finding();
            assert!(matches!(finding, Finding::Unproven(_)), "{account:?}");
        }
    }

    #[test]
    fn without_a_strangers_id_nobody_wrote() {
        let nobody = Account {
            count: 0,
            xids: Vec::new(),
            ..account()
        };
        assert_eq!(nobody.finding(), Finding::Unwritten);
    }

    #[test]
    fn a_note_of_a_breach_is_what_the_account_looks_for() {
        let noted = breach("database orders is open");
        assert_eq!(noted, format!("{BREACH}database orders is open"));
        assert!(!BREACH.is_empty());
    }

    #[test]
    fn every_id_since_the_look_is_asked_for() {
        let since = Look {
            lsn: crate::Lsn(1),
            xid: 730,
            open: vec![728],
            own: vec![731, 732],
        };
        let question = question(&since);
        assert!(question.contains("generate_series(731,"), "{question}");
        assert!(question.contains("unnest('{728}'::bigint[])"), "{question}");
        assert!(
            question.contains("ALL ('{731,732}'::bigint[])"),
            "{question}"
        );
    }
}
