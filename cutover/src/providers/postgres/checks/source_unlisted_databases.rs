//! Databases of the source that nobody decided on. Promotion moves the whole server.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::{
    checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count},
    migration::{PlannedDatabase, UnlistedDatabasePolicy},
};

#[derive(Debug)]
pub(super) struct UnlistedDatabases;

const SPEC: CheckSpec = CheckSpec::block("S4", "source.unlisted-databases");

const CONNECTABLE: &str = "
SELECT d.datname::text AS datname, s.numbackends, s.tup_inserted + s.tup_updated + s.tup_deleted AS rows_written
FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid
WHERE d.datallowconn AND NOT d.datistemplate AND d.datname NOT IN ('postgres', 'rdsadmin')
ORDER BY 1";

/// Database `postgres` has no reverse stream.
const TABLES_IN_POSTGRES: &str = "
SELECT c.oid::regclass::text AS table_name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p') AND n.nspname !~ '^(pg_|information_schema$|pointsman$)'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Connectable {
    datname: String,
    numbackends: Option<i64>,
    rows_written: Option<i64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Table {
    table_name: String,
}

/// What the migration and the catalogue know of the server's databases.
struct Known<'a> {
    server: &'a str,
    databases: &'a [PlannedDatabase],
    unlisted: &'a BTreeMap<String, UnlistedDatabasePolicy>,
    catalogued: &'a [PlannedDatabase],
}

#[async_trait]
impl Check for UnlistedDatabases {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let known = Known {
            server: place.name(),
            databases: ctx.databases,
            unlisted: ctx.unlisted,
            catalogued: ctx.catalogued,
        };
        let began = ctx.clock.monotonic();
        let (rows, tables) = futures_util::join!(
            place.ask::<Connectable>(CONNECTABLE),
            place.ask::<Table>(TABLES_IN_POSTGRES),
        );
        let rows = rows.map(|rows| known.judge(&rows));
        let tables = tables.map(|tables| judge_postgres(place.name(), &tables));
        vec![
            place.finding(SPEC, began, rows),
            place.database("postgres").finding(SPEC, began, tables),
        ]
    }
}

impl Known<'_> {
    fn judge(&self, rows: &[Connectable]) -> Judgement {
        let judgement = self
            .impossible()
            .or_else(|| self.left_out())
            .or_else(|| self.absent(rows))
            .or_else(|| self.undecided(rows))
            .or_else(|| self.mistyped(rows))
            .unwrap_or_else(|| {
                Judgement::pass(format!(
                    "every database of {} is named: {}",
                    self.server,
                    list(rows.iter().map(|row| row.datname.as_str()))
                ))
            });
        judgement.with(rows)
    }

    fn named(&self, datname: &str) -> bool {
        self.databases.iter().any(|named| named.datname == datname)
    }

    /// The control sessions need `postgres`, so it cannot be closed.
    fn impossible(&self) -> Option<Judgement> {
        let moving = self.named("postgres") || self.unlisted.contains_key("postgres");
        moving.then(|| {
            Judgement::fail(
                "database postgres cannot be moved: the control sessions need it, so it is never \
                 closed",
                "move the application's tables to a database of their own",
            )
        })
    }

    /// Catalogued on this server, and not part of the migration.
    fn left_out(&self) -> Option<Judgement> {
        let left: Vec<_> = self
            .catalogued
            .iter()
            .filter(|known| !self.named(&known.datname))
            .collect();
        let first = left.first()?;
        Some(
            Judgement::fail(
                format!(
                    "{} served from {} and not part of this migration, but promotion moves the \
                     whole server: {}",
                    count(left.len(), "database"),
                    self.server,
                    list(left.iter().map(|known| known.name.as_str()))
                ),
                format!(
                    "cancel the migration and create it again, so that it includes {}",
                    first.name
                ),
            )
            .with(&left),
        )
    }

    /// Named, and not there or not open.
    fn absent(&self, rows: &[Connectable]) -> Option<Judgement> {
        let there = |datname: &str| rows.iter().any(|row| row.datname == datname);
        let absent = self.databases.iter().find(|named| !there(&named.datname))?;
        Some(Judgement::fail(
            format!(
                "database {} (PostgreSQL's name {}) is not on {}, or accepts no connection",
                absent.name, absent.datname, self.server
            ),
            "correct its datname in the catalogue, or ALLOW_CONNECTIONS",
        ))
    }

    /// The finding about databases that nobody has decided on.
    fn undecided(&self, rows: &[Connectable]) -> Option<Judgement> {
        let undecided: Vec<_> = rows
            .iter()
            .map(|row| row.datname.as_str())
            .filter(|datname| !self.named(datname) && !self.unlisted.contains_key(*datname))
            .collect();
        let first = undecided.first()?;
        Some(Judgement::fail(
            format!(
                "{} of {} that nobody decided on: {}; left open, both servers would accept writes \
                 there after promotion",
                count(undecided.len(), "database"),
                self.server,
                list(undecided.iter().copied())
            ),
            format!(
                "create the migration with a decision for each: --unlisted {first}=moves (it moves like \
                 the others, with a reverse stream) or --unlisted {first}=stays-closed (closed on both \
                 servers until the migration is complete); or add it to the catalogue"
            ),
        ))
    }

    /// A policy for a database that is not there: a typing error.
    fn mistyped(&self, rows: &[Connectable]) -> Option<Judgement> {
        let there = |datname: &String| rows.iter().any(|row| row.datname == *datname);
        let mistyped = self.unlisted.keys().find(|datname| !there(datname))?;
        Some(Judgement::fail(
            format!(
                "a decision is given for database {mistyped}, which is not on {}, or accepts no \
                 connection",
                self.server
            ),
            "create the migration again without it",
        ))
    }
}

fn judge_postgres(server: &str, tables: &[Table]) -> Judgement {
    let Some(first) = tables.first() else {
        return Judgement::pass(format!("database postgres of {server} holds no table"));
    };
    Judgement::warn(
        format!(
            "database postgres of {server} holds {} (first: {}); it is closed to applications \
             during the switch, and what is written there afterwards does not come back with a \
             rollback",
            count(tables.len(), "table"),
            first.table_name
        ),
        "move them to a database of their own",
    )
    .with(tables)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::DatabaseName;
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn database(name: &str) -> PlannedDatabase {
        PlannedDatabase {
            name: DatabaseName::new(name).unwrap(),
            datname: name.to_owned(),
        }
    }

    fn judged(
        named: &[&str],
        unlisted: &[(&str, UnlistedDatabasePolicy)],
        catalogued: &[&str],
        on_server: &[&str],
    ) -> Judgement {
        let databases: Vec<_> = named.iter().map(|name| database(name)).collect();
        let catalogued: Vec<_> = catalogued.iter().map(|name| database(name)).collect();
        let unlisted = unlisted
            .iter()
            .map(|&(name, policy)| (name.to_owned(), policy))
            .collect();
        let on_server: Vec<_> = on_server
            .iter()
            .map(|name| Connectable {
                datname: (*name).to_owned(),
                numbackends: Some(0),
                rows_written: Some(0),
            })
            .collect();
        Known {
            server: "blue",
            databases: &databases,
            unlisted: &unlisted,
            catalogued: &catalogued,
        }
        .judge(&on_server)
    }

    #[test]
    fn named_and_decided_databases_pass() {
        let unlisted = [
            ("old", UnlistedDatabasePolicy::StaysClosed),
            ("side", UnlistedDatabasePolicy::Moves),
        ];
        let judgement = judged(
            &["orders"],
            &unlisted,
            &["orders"],
            &["old", "orders", "side"],
        );
        assert_eq!(judgement.grade, Grade::Pass);
        assert_eq!(judgement.evidence.len(), 3);
    }

    #[test]
    fn an_idle_database_that_nobody_decided_on_fails_with_both_policies() {
        let judgement = judged(&["orders"], &[], &["orders"], &["idle", "orders"]);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("idle"), "{judgement:?}");
        for flag in ["--unlisted idle=moves", "--unlisted idle=stays-closed"] {
            assert!(judgement.remedy.contains(flag), "{judgement:?}");
        }
    }

    #[test]
    fn a_catalogued_database_needs_to_be_named_even_if_it_has_a_policy() {
        let unlisted = [("billing", UnlistedDatabasePolicy::StaysClosed)];
        let judgement = judged(
            &["orders"],
            &unlisted,
            &["orders", "billing"],
            &["billing", "orders"],
        );
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.remedy.contains("includes billing"),
            "{judgement:?}"
        );
    }

    #[test]
    fn a_named_database_that_is_not_there_fails() {
        let judgement = judged(&["orders"], &[], &["orders"], &[]);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.message.contains("is not on blue"),
            "{judgement:?}"
        );
    }

    #[test]
    fn a_policy_for_nothing_and_the_moving_of_postgres_fail() {
        let unlisted = [("typo", UnlistedDatabasePolicy::Moves)];
        assert_eq!(
            judged(&["orders"], &unlisted, &["orders"], &["orders"]).grade,
            Grade::Fail
        );
        assert_eq!(
            judged(&["postgres"], &[], &["postgres"], &[]).grade,
            Grade::Fail
        );
    }

    #[test]
    fn tables_in_database_postgres_are_a_warning() {
        assert_eq!(judge_postgres("blue", &[]).grade, Grade::Pass);
        let tables: Vec<Table> = rows(json!([{"table_name": "public.t"}]));
        assert_eq!(judge_postgres("blue", &tables).grade, Grade::Warn);
    }
}
