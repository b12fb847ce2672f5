//! The publication of the reverse stream, and what it leaves out.

use super::{powers::Powers, session::Session, statements::PUBLICATION};
use crate::ports::ProviderError;

/// Makes the publication in the database of `session`, or completes the one that is there.
///
/// Only a superuser may publish all tables, later ones included. Elsewhere the tables are named:
/// ordinary ones and leaves, each under its own name, as far as the control role may publish
/// them and UPDATE and DELETE would not fail on them for want of a replica identity.
/// <https://www.postgresql.org/docs/current/sql-createpublication.html>
pub(super) async fn make(session: &Session, powers: &Powers) -> Result<(), ProviderError> {
    let what = "make the publication";
    if is_there(session).await? {
        return complete(session).await;
    }
    if powers.superuser {
        let sql = format!(
            "CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES \
             WITH (publish_via_partition_root = true)"
        );
        session.batch(what, &sql).await?;
        return Ok(());
    }
    let tables = missing(session).await?;
    let of = if tables.is_empty() {
        String::new()
    } else {
        format!(" FOR TABLE {}", tables.join(", "))
    };
    session
        .batch(what, &format!("CREATE PUBLICATION {PUBLICATION}{of}"))
        .await?;
    Ok(())
}

/// Whether the database of `session` has the publication.
pub(super) async fn is_there(session: &Session) -> Result<bool, ProviderError> {
    let what = "look for the publication";
    let there = session.rows(what, THERE, &[&PUBLICATION]).await?;
    Ok(!there.is_empty())
}

/// Adds what a publication of named tables could carry and does not yet.
pub(super) async fn complete(session: &Session) -> Result<(), ProviderError> {
    let tables = missing(session).await?;
    if tables.is_empty() {
        return Ok(());
    }
    let add = format!(
        "ALTER PUBLICATION {PUBLICATION} ADD TABLE {}",
        tables.join(", ")
    );
    session.batch("complete the publication", &add).await?;
    Ok(())
}

/// The tables that the publication does not carry, quoted and with schema.
pub(super) async fn left_out(session: &Session) -> Result<Vec<String>, ProviderError> {
    let what = "compare the tables with the publication";
    let rows = session.rows(what, LEFT_OUT, &[&PUBLICATION]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn missing(session: &Session) -> Result<Vec<String>, ProviderError> {
    let rows = session
        .rows("list the tables to publish", MISSING, &[&PUBLICATION])
        .await?;
    let names = rows.iter().map(|row| row.get::<_, String>(0));
    Ok(names.map(|name| format!("ONLY {name}")).collect())
}

const THERE: &str = "SELECT FROM pg_publication WHERE pubname = $1";

macro_rules! left_out {
    ($further:literal) => {
        concat!(
            "SELECT format('%I.%I', n.nspname, c.relname) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
               AND n.nspname !~ '^(pg_|information_schema$)' \
               AND NOT EXISTS (SELECT FROM pg_publication p \
                 WHERE p.pubname = $1 AND p.puballtables) \
               AND NOT EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = $1 \
                 AND t.schemaname = n.nspname AND t.tablename = c.relname)",
            $further,
            " ORDER BY 1"
        )
    };
}

const LEFT_OUT: &str = left_out!("");

/// Only a table's owner may publish it.
const MISSING: &str = left_out!(
    " AND pg_has_role(c.relowner, 'USAGE') \
      AND (c.relreplident = 'f' \
        OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid \
          AND i.indimmediate AND CASE c.relreplident WHEN 'd' THEN i.indisprimary \
            WHEN 'i' THEN i.indisreplident ELSE false END))"
);
