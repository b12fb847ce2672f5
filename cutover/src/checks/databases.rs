//! Promotion moves every database of the server, so each must have been thought of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
    place::Place,
};
use crate::migration::{PlannedDatabase, UnlistedDatabasePolicy};

pub(super) const EVERY_DATABASE: Check = Check::block("S4", "source.every-database-has-a-fate");

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
struct Plan<'a> {
    server: &'a str,
    databases: &'a [PlannedDatabase],
    fates: &'a BTreeMap<String, UnlistedDatabasePolicy>,
    catalogued: &'a [PlannedDatabase],
}

pub(super) async fn run(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let place = Place::source(ctx);
    let plan = Plan {
        server: place.server,
        databases: ctx.databases,
        fates: ctx.fates,
        catalogued: ctx.catalogued,
    };
    let began = Instant::now();
    let (rows, tables) = futures_util::join!(
        place.ask::<Connectable>(CONNECTABLE),
        place.ask::<Table>(TABLES_IN_POSTGRES),
    );
    let rows = rows.map(|rows| plan.judge(&rows));
    let tables = tables.map(|tables| judge_postgres(place.server, &tables));
    let postgres = place.database("postgres");
    vec![
        EVERY_DATABASE.finding(ctx, place.location(), began, rows),
        EVERY_DATABASE.finding(ctx, postgres.location(), began, tables),
    ]
}

impl Plan<'_> {
    fn judge(&self, rows: &[Connectable]) -> Judgement {
        let judgement = self
            .impossible()
            .or_else(|| self.left_out())
            .or_else(|| self.absent(rows))
            .or_else(|| self.fateless(rows))
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

    /// `postgres` is the control sessions' own door and cannot be closed.
    fn impossible(&self) -> Option<Judgement> {
        let moving = self.named("postgres") || self.fates.contains_key("postgres");
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

    /// On the server, and neither named nor decided on.
    fn fateless(&self, rows: &[Connectable]) -> Option<Judgement> {
        let fateless: Vec<_> = rows
            .iter()
            .map(|row| row.datname.as_str())
            .filter(|datname| !self.named(datname) && !self.fates.contains_key(*datname))
            .collect();
        let first = fateless.first()?;
        Some(Judgement::fail(
            format!(
                "{} of {} that nobody decided on: {}; left open, both servers would accept writes \
                 there after promotion",
                count(fateless.len(), "database"),
                self.server,
                list(fateless.iter().copied())
            ),
            format!(
                "create the migration with a fate for each: --fate {first}=moves (it moves like \
                 the others, with a reverse stream) or --fate {first}=stays-closed (closed on both \
                 servers until the migration is complete); or add it to the catalogue"
            ),
        ))
    }

    /// A fate for what is not there: somebody meant something else.
    fn mistyped(&self, rows: &[Connectable]) -> Option<Judgement> {
        let there = |datname: &String| rows.iter().any(|row| row.datname == *datname);
        let mistyped = self.fates.keys().find(|datname| !there(datname))?;
        Some(Judgement::fail(
            format!(
                "a fate is given for database {mistyped}, which is not on {}, or accepts no \
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
    use crate::checks::check::{Judged, rows};

    fn database(name: &str) -> PlannedDatabase {
        PlannedDatabase {
            name: DatabaseName::new(name).unwrap(),
            datname: name.to_owned(),
        }
    }

    fn judged(
        named: &[&str],
        fates: &[(&str, UnlistedDatabasePolicy)],
        catalogued: &[&str],
        on_server: &[&str],
    ) -> Judgement {
        let databases: Vec<_> = named.iter().map(|name| database(name)).collect();
        let catalogued: Vec<_> = catalogued.iter().map(|name| database(name)).collect();
        let fates = fates
            .iter()
            .map(|&(name, fate)| (name.to_owned(), fate))
            .collect();
        let on_server: Vec<_> = on_server
            .iter()
            .map(|name| Connectable {
                datname: (*name).to_owned(),
                numbackends: Some(0),
                rows_written: Some(0),
            })
            .collect();
        Plan {
            server: "blue",
            databases: &databases,
            fates: &fates,
            catalogued: &catalogued,
        }
        .judge(&on_server)
    }

    #[test]
    fn named_and_fated_databases_pass() {
        let fates = [
            ("old", UnlistedDatabasePolicy::StaysClosed),
            ("side", UnlistedDatabasePolicy::Moves),
        ];
        let judgement = judged(&["orders"], &fates, &["orders"], &["old", "orders", "side"]);
        assert_eq!(judgement.result, Judged::Pass);
        assert_eq!(judgement.evidence.len(), 3);
    }

    #[test]
    fn an_idle_database_that_nobody_decided_on_fails_with_both_fates() {
        let judgement = judged(&["orders"], &[], &["orders"], &["idle", "orders"]);
        assert_eq!(judgement.result, Judged::Fail);
        assert!(judgement.says.contains("idle"), "{judgement:?}");
        for fate in ["--fate idle=moves", "--fate idle=stays-closed"] {
            assert!(judgement.fix.contains(fate), "{judgement:?}");
        }
    }

    #[test]
    fn a_catalogued_database_needs_to_be_named_even_if_it_has_a_fate() {
        let fates = [("billing", UnlistedDatabasePolicy::StaysClosed)];
        let judgement = judged(
            &["orders"],
            &fates,
            &["orders", "billing"],
            &["billing", "orders"],
        );
        assert_eq!(judgement.result, Judged::Fail);
        assert!(judgement.fix.contains("includes billing"), "{judgement:?}");
    }

    #[test]
    fn a_named_database_that_is_not_there_fails() {
        let judgement = judged(&["orders"], &[], &["orders"], &[]);
        assert_eq!(judgement.result, Judged::Fail);
        assert!(judgement.says.contains("is not on blue"), "{judgement:?}");
    }

    #[test]
    fn a_fate_for_nothing_and_the_moving_of_postgres_fail() {
        let fates = [("typo", UnlistedDatabasePolicy::Moves)];
        assert_eq!(
            judged(&["orders"], &fates, &["orders"], &["orders"]).result,
            Judged::Fail
        );
        assert_eq!(
            judged(&["postgres"], &[], &["postgres"], &[]).result,
            Judged::Fail
        );
    }

    #[test]
    fn tables_in_database_postgres_are_a_warning() {
        assert_eq!(judge_postgres("blue", &[]).result, Judged::Pass);
        let tables: Vec<Table> = rows(json!([{"table_name": "public.t"}]));
        assert_eq!(judge_postgres("blue", &tables).result, Judged::Warn);
    }
}
