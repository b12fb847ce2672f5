//! The statements of a switch as text, one place for those that run and those that are
//! only shown.

use pointsman_catalog::UnixMillis;

use crate::{Lsn, ports::DatabaseSettings};

/// Closes every database but `postgres`, which recovery needs and which is limited instead.
pub(super) fn close_databases(databases: &[DatabaseSettings]) -> Vec<String> {
    databases
        .iter()
        .filter(|database| database.allow_connections)
        .map(|database| {
            let name = identifier(&database.datname);
            if database.datname == "postgres" {
                format!("ALTER DATABASE {name} CONNECTION LIMIT 0")
            } else {
                format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            }
        })
        .collect()
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

/// Lets superusers in and nobody else.
pub(super) fn limit_databases(datnames: &[String]) -> Vec<String> {
    datnames
        .iter()
        .map(|datname| {
            format!(
                "ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT 0",
                identifier(datname)
            )
        })
        .collect()
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
/// Modules that record the statements inside of others are told not to; where that needs a superuser,
/// they go on. An error is raised again without the statement, which its context would show.
pub(super) fn subscribe_to_handed_over(slot: &str) -> String {
    format!(
        "DO {}; COMMIT",
        literal(&format!(
            "DECLARE made text; code text; said text; module text; BEGIN \
               FOREACH module IN ARRAY ARRAY['pg_stat_statements.track', 'pgaudit.log'] LOOP \
                 BEGIN PERFORM set_config(module, 'none', true); \
                 EXCEPTION WHEN insufficient_privilege THEN NULL; END; \
               END LOOP; \
               SELECT format('{CREATE_SUBSCRIPTION} %L ', conninfo) || {options} \
                 INTO STRICT made FROM pg_temp.pointsman_publisher; \
               EXECUTE made; \
             EXCEPTION WHEN OTHERS THEN \
               GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT; \
               RAISE EXCEPTION USING ERRCODE = code, MESSAGE = said; END",
            options = literal(&subscription_options(slot)),
        ))
    )
}

fn subscription_options(slot: &str) -> String {
    format!(
        "PUBLICATION {PUBLICATION} WITH (create_slot = false, slot_name = {}, copy_data = false, \
         synchronous_commit = 'local')",
        literal(slot)
    )
}

/// Makes the transaction that it stands in known as the engine's own, on this server and on
/// those that replay it. Proofs that nobody wrote do not count it.
pub(super) fn own_transaction(what: &str) -> String {
    format!(
        "INSERT INTO pointsman.transactions (what) VALUES ({})",
        literal(what)
    )
}

/// A quoted identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted literal. Backslashes need the `E` form, which does not depend on
/// `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// The statement that promotes, guarded by the server itself: a late one refuses. One
/// message carries all of it, so it arrives whole or not at all.
pub(super) fn promote(marker: Lsn, deadline: UnixMillis) -> String {
    format!(
        "SELECT CASE WHEN pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '{marker}' \
         AND clock_timestamp() < to_timestamp({deadline}::numeric / 1000) \
         AND NOT EXISTS (SELECT FROM pg_database WHERE datallowconn AND datname <> 'postgres') \
         THEN pg_promote(false) END"
    )
}

/// Begins the transaction in which a connection string is handed over.
pub(super) const HAND_OVER: &str =
    "BEGIN; CREATE TEMP TABLE pointsman_publisher (conninfo text) ON COMMIT DROP";
/// Takes the connection string.
pub(super) const TAKE_OVER: &str = "COPY pg_temp.pointsman_publisher FROM STDIN";
const CREATE_SUBSCRIPTION: &str = "CREATE SUBSCRIPTION pointsman_rb CONNECTION";
pub(super) const PUBLICATION: &str = "pointsman_rb";
pub(super) const SUBSCRIPTION: &str = "pointsman_rb";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn postgres_is_limited_and_never_closed() {
        let database = |datname: &str, allow_connections| DatabaseSettings {
            datname: datname.to_owned(),
            oid: 1,
            allow_connections,
            connection_limit: -1,
            is_template: false,
        };
        let databases = [
            database("app", true),
            database("postgres", true),
            database("template0", false),
        ];
        assert_eq!(
            close_databases(&databases),
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
