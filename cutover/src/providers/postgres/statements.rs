//! The statements of a switch as text, one place for those that run and those that are
//! only shown.

use std::collections::BTreeMap;

use pointsman_catalog::UnixMillis;

use super::{
    acl::Acl,
    own_transaction::own_transaction,
    powers::{Door, Powers},
};
use crate::{Lsn, ports::DatabaseSettings};

pub(super) use super::text::{identifier, literal};

/// Closes every database that the control role owns but `postgres`, which recovery needs and
/// which is shut to everybody else instead.
pub(super) fn close_databases(
    databases: &[DatabaseSettings],
    powers: &Powers,
    acls: &BTreeMap<String, Acl>,
) -> Vec<String> {
    let mut statements = Vec::new();
    for database in databases {
        if !database.allow_connections || !powers.owns(&database.datname) {
            continue;
        }
        let name = identifier(&database.datname);
        if database.datname != "postgres" {
            statements.push(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
            continue;
        }
        match powers.door() {
            Door::Limit => {
                statements.push(format!("ALTER DATABASE {name} CONNECTION LIMIT 0"));
            }
            Door::AccessList => {
                let acl = acls.get(&database.datname);
                let shut = acl.map(|acl| acl.shut(&database.datname, &powers.role));
                statements.extend(shut.unwrap_or_default());
            }
        }
    }
    statements
}

/// Gives databases their former settings back.
pub(super) fn reopen_databases<'a>(
    former: impl Iterator<Item = &'a DatabaseSettings>,
) -> Vec<String> {
    former
        .map(|database| {
            let name = identifier(&database.datname);
            let limit = database.connection_limit;
            if database.datname == "postgres" {
                format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}")
            } else {
                format!(
                    "ALTER DATABASE {name} ALLOW_CONNECTIONS {} CONNECTION LIMIT {limit}",
                    database.allow_connections
                )
            }
        })
        .collect()
}

/// Lets the control role and superusers in, and nobody else.
pub(super) fn admit_control(
    datnames: &[String],
    powers: &Powers,
    acls: &BTreeMap<String, Acl>,
) -> Vec<String> {
    let mut statements = Vec::new();
    for datname in datnames {
        let open = format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS true",
            identifier(datname)
        );
        match powers.door() {
            Door::Limit => statements.push(format!("{open} CONNECTION LIMIT 0")),
            Door::AccessList => {
                let shut = acls.get(datname).map(|acl| acl.shut(datname, &powers.role));
                statements.extend(shut.unwrap_or_default());
                statements.push(open);
            }
        }
    }
    statements
}

/// Closes the named databases again.
pub(super) fn close_named(datnames: &[String]) -> Vec<String> {
    datnames
        .iter()
        .map(|datname| {
            format!(
                "ALTER DATABASE {} ALLOW_CONNECTIONS false",
                identifier(datname)
            )
        })
        .collect()
}

/// One subscription of the reverse stream, as a dry run shows it. `synchronous_commit = local` makes
/// the apply worker report what it has flushed at once instead of after the WAL writer's delay.
pub(super) fn create_subscription(slot: &str) -> String {
    format!("{CREATE_SUBSCRIPTION} '…' {}", subscription_options(slot))
}

/// The same without the connection string, which may hold a password and must not stand in a text
/// that the server may log: it comes by COPY into a table that [`HAND_OVER`] makes.
///
/// An error is raised again without the statement, which its context would show; so is a
/// cancellation, which OTHERS does not cover. The context of a session that is ended meanwhile is
/// left out of the log where the control role may say so.
pub(super) fn subscribe_to_handed_over(slot: &str) -> String {
    with_handed_over(CREATE_SUBSCRIPTION, &subscription_options(slot))
}

/// The same for a subscription that is there: its connection string may have changed since.
pub(super) fn reconnect_to_handed_over() -> String {
    with_handed_over(&format!("ALTER SUBSCRIPTION {SUBSCRIPTION} CONNECTION"), "")
}

fn with_handed_over(statement: &str, options: &str) -> String {
    let quieten = quieten();
    format!(
        concat!(secretly!(), "DO {}; COMMIT"),
        literal(&format!(
            "DECLARE made text; code text; said text; quiet text; BEGIN \
               {quieten} \
               {noted}; \
               SELECT format('{statement} %L ', conninfo) || {options} \
                 INTO STRICT made FROM pg_temp.pointsman_publisher; \
               EXECUTE made; \
             EXCEPTION WHEN QUERY_CANCELED OR OTHERS THEN \
               GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT; \
               RAISE EXCEPTION USING ERRCODE = code, MESSAGE = said; END",
            options = literal(options),
            // What runs inside of the block has an id of its own.
            noted = own_transaction("subscribe to its successor"),
        ))
    )
}

/// Fails where [`with_handed_over`] would do nothing, and does nothing itself.
pub(super) fn try_to_quieten() -> String {
    let block = format!("DECLARE quiet text; BEGIN {} END", quieten());
    format!("DO {}", literal(&block))
}

/// Modules that record the statements inside of others are told not to. Where the control role
/// may not tell them, and they would record what follows, a right is missing.
fn quieten() -> String {
    format!(
        "FOREACH quiet IN ARRAY ARRAY['pg_stat_statements.track=none', 'pgaudit.log=none', \
           'log_error_verbosity=terse'] LOOP \
           BEGIN PERFORM set_config(split_part(quiet, '=', 1), split_part(quiet, '=', 2), true); \
           EXCEPTION WHEN insufficient_privilege THEN NULL; END; \
         END LOOP; \
         IF EXISTS ({RECORDING}) THEN \
           RAISE insufficient_privilege USING MESSAGE = 'a module would record the password: \
             pg_stat_statements.track is all or pgaudit.log is not none, and the control role may \
             not change that for itself'; \
         END IF; \
         IF NOT current_setting('track_activities')::bool THEN \
           RAISE insufficient_privilege USING MESSAGE = 'track_activities is off: nobody could tell \
             this session from others that may be ended, and the log would have the password'; \
         END IF;"
    )
}

/// The settings by which a module now records statements that run inside of others, with their
/// text.
pub(super) const RECORDING: &str = "SELECT setting FROM (VALUES \
       ('pg_stat_statements.track', current_setting('pg_stat_statements.track', true) = 'all'), \
       ('pgaudit.log', current_setting('pgaudit.log', true) NOT IN ('', 'none'))) \
     AS module (setting, records) WHERE records";

fn subscription_options(slot: &str) -> String {
    format!(
        "PUBLICATION {PUBLICATION} WITH (create_slot = false, slot_name = {}, copy_data = false, \
         synchronous_commit = 'local')",
        literal(slot)
    )
}

/// The statement that promotes, guarded by the server itself: a late one refuses. One
/// message carries all of it, so it arrives whole or not at all.
///
/// Databases that the control role cannot close (`not_closable`) are no condition.
pub(super) fn promote(marker: Lsn, deadline: UnixMillis, not_closable: &[String]) -> String {
    let left_open: Vec<_> = not_closable.iter().map(|name| literal(name)).collect();
    let open = if left_open.is_empty() {
        "datallowconn AND datname <> 'postgres'".to_owned()
    } else {
        format!(
            "datallowconn AND datname NOT IN ('postgres', {})",
            left_open.join(", ")
        )
    };
    format!(
        "SELECT CASE WHEN pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '{marker}' \
         AND clock_timestamp() < to_timestamp({deadline}::numeric / 1000) \
         AND NOT EXISTS (SELECT FROM pg_database WHERE {open}) \
         THEN pg_promote(false) END"
    )
}

/// How every statement begins whose session has a connection string, or is about to get it. Whoever
/// ends such a session cancels it first: see [`has_secret`].
macro_rules! secretly {
    () => {
        "/* pointsman: connection string */ "
    };
}

/// Whether the session of a row of `pg_stat_activity` has a connection string, or is about to get it. A
/// server logs the context of a session that is ended in the midst of a statement, and in the one that
/// subscribes there is a password. A cancellation is caught by that statement, and raised without it.
macro_rules! has_secret {
    ($row:literal) => {
        concat!(
            "starts_with(",
            $row,
            "query, '",
            $crate::providers::postgres::statements::secretly!(),
            "')"
        )
    };
}

/// The same of a session in whose statement that string is. A backend that waits for the row to be
/// copied hears no cancellation, and has nothing of it yet.
macro_rules! runs_with_secret {
    ($row:literal) => {
        concat!(
            "(",
            $crate::providers::postgres::statements::has_secret!($row),
            " AND ",
            $row,
            "state = 'active' AND NOT (",
            $row,
            "wait_event IS NOT DISTINCT FROM 'ClientRead' \
               AND ",
            $row,
            "state_change < clock_timestamp() - interval '1 second'))"
        )
    };
}

pub(super) use runs_with_secret;
pub(super) use {has_secret, secretly};

/// Begins the transaction in which a connection string is handed over. No timeout ends its session: from
/// 17 on there is one for a whole transaction.
pub(super) const HAND_OVER: &str = concat!(
    secretly!(),
    "BEGIN; \
     SELECT pg_logical_emit_message(true, 'pointsman.own', ''); \
     INSERT INTO pointsman.transactions (what) VALUES ('hand a connection string over'); \
     SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'; \
     CREATE TEMP TABLE pointsman_publisher (padding text, conninfo text) ON COMMIT DROP"
);
/// Takes the connection string. In front of it stands padding: of a row that cannot be copied a server
/// logs the first hundred bytes.
pub(super) const TAKE_OVER: &str =
    concat!(secretly!(), "COPY pg_temp.pointsman_publisher FROM STDIN");
const CREATE_SUBSCRIPTION: &str = "CREATE SUBSCRIPTION pointsman_rb CONNECTION";
pub(super) const PUBLICATION: &str = "pointsman_rb";
pub(super) const SUBSCRIPTION: &str = "pointsman_rb";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::AclItem;

    fn database(datname: &str, allow_connections: bool) -> DatabaseSettings {
        DatabaseSettings {
            datname: datname.to_owned(),
            oid: 1,
            allow_connections,
            connection_limit: -1,
            is_template: false,
        }
    }

    fn superuser() -> Powers {
        Powers {
            superuser: true,
            ..Powers::default()
        }
    }

    /// Owns what RDS gives its master user, as a role without superuser.
    fn master() -> Powers {
        let owned = ["app", "postgres", "template1"].map(str::to_owned);
        Powers {
            role: "master".to_owned(),
            owned: owned.into(),
            not_closable: vec!["rdsadmin".to_owned()],
            ..Powers::default()
        }
    }

    fn default_acl() -> Acl {
        let item = |grantee: Option<&str>, privileges: &str| AclItem {
            grantee: grantee.map(str::to_owned),
            grantor: "master".to_owned(),
            privileges: privileges.to_owned(),
        };
        Acl {
            owner: "master".to_owned(),
            items: vec![item(None, "Tc"), item(Some("master"), "CTc")],
        }
    }

    #[test]
    fn without_superuser_postgres_is_shut_by_its_access_list_and_strangers_are_left_alone() {
        let databases = ["app", "postgres", "rdsadmin"].map(|name| database(name, true));
        let acls = BTreeMap::from([("postgres".to_owned(), default_acl())]);
        let statements = close_databases(&databases, &master(), &acls);
        let [close, revoke, check] = statements.as_slice() else {
            panic!("{statements:?}");
        };
        assert_eq!(close, "ALTER DATABASE \"app\" ALLOW_CONNECTIONS false");
        assert_eq!(
            revoke,
            "REVOKE CONNECT ON DATABASE \"postgres\" FROM PUBLIC CASCADE"
        );
        assert!(check.starts_with("DO "), "{check}");
    }

    #[test]
    fn without_superuser_nobody_else_is_admitted_before_the_database_opens() {
        let acls = BTreeMap::from([("app".to_owned(), default_acl())]);
        let statements = admit_control(&["app".to_owned()], &master(), &acls);
        assert_eq!(
            statements.last().unwrap(),
            "ALTER DATABASE \"app\" ALLOW_CONNECTIONS true"
        );
        assert!(
            statements[0].starts_with("REVOKE CONNECT"),
            "{statements:?}"
        );
        assert_eq!(
            admit_control(&["app".to_owned()], &superuser(), &BTreeMap::new()),
            ["ALTER DATABASE \"app\" ALLOW_CONNECTIONS true CONNECTION LIMIT 0"]
        );
    }

    #[test]
    fn the_guard_of_a_promotion_names_what_cannot_be_closed_and_nothing_else() {
        let guard = |not_closable: &[String]| promote(Lsn(1), UnixMillis(2), not_closable);
        assert!(guard(&[]).contains("WHERE datallowconn AND datname <> 'postgres')"));
        assert!(
            guard(&["rdsadmin".to_owned()])
                .contains("WHERE datallowconn AND datname NOT IN ('postgres', 'rdsadmin'))")
        );
    }

    #[test]
    fn postgres_is_limited_and_never_closed() {
        let databases = [
            database("app", true),
            database("postgres", true),
            database("template0", false),
        ];
        assert_eq!(
            close_databases(&databases, &superuser(), &BTreeMap::new()),
            [
                "ALTER DATABASE \"app\" ALLOW_CONNECTIONS false",
                "ALTER DATABASE \"postgres\" CONNECTION LIMIT 0",
            ]
        );
        assert_eq!(
            reopen_databases(databases.iter()),
            [
                "ALTER DATABASE \"app\" ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
                "ALTER DATABASE \"postgres\" CONNECTION LIMIT -1",
                "ALTER DATABASE \"template0\" ALLOW_CONNECTIONS false CONNECTION LIMIT -1",
            ]
        );
    }
}
