//! The end of a run: what the clients know held against what the tables contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::record::{Record, Role};
use crate::postgres::PostgresServer;

/// One row of the table `writes`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which client wrote it.
    pub client: i32,
    /// The client's number of the write.
    pub number: i64,
}

/// What a audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteAudit {
    /// Acknowledged, but absent.
    pub lost: Vec<Finding>,
    /// There more than once.
    pub duplicated: Vec<Finding>,
    /// Behind a higher number of the same client.
    pub out_of_order: Vec<Finding>,
    /// There, though neither acknowledged nor ever in doubt.
    pub phantom: Vec<Finding>,
    /// How many rows were compared.
    pub rows: u64,
}

/// A write that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The database.
    pub datname: String,
    /// The client.
    pub client: i32,
    /// Its number of the write.
    pub number: i64,
}

/// Reads the table in the order in which the rows were inserted.
///
/// # Errors
/// The server does.
pub async fn read_rows(client: &tokio_postgres::Client) -> Result<Vec<Row>, tokio_postgres::Error> {
    let rows = client
        .query("SELECT client, number FROM writes ORDER BY id", &[])
        .await?;
    let parsed = rows.iter().map(|row| {
        Ok(Row {
            client: row.try_get(0)?,
            number: row.try_get(1)?,
        })
    });
    parsed.collect()
}

/// Compares every database that the clients worked in with what `server` has, which must be the serving writer.
///
/// # Errors
/// The server does not answer.
pub async fn check(record: &Record, server: &PostgresServer) -> anyhow::Result<WriteAudit> {
    let mut audit = WriteAudit::default();
    for datname in record.datnames() {
        let session = server.client(datname).await?;
        let rows = read_rows(&session).await?;
        audit = audit.and(compare(record, datname, &rows));
    }
    Ok(audit)
}

/// Compares one database's rows, in insertion order, with what its writers know.
#[must_use]
pub fn compare(record: &Record, datname: &str, rows: &[Row]) -> WriteAudit {
    let mut found: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for row in rows {
        found.entry(row.client).or_default().push(row.number);
    }
    let mut audit = WriteAudit {
        rows: rows.len() as u64,
        ..WriteAudit::default()
    };
    let clients = record.clients.iter().filter(|client| {
        client.identity.datname == datname && client.identity.role == Role::Writer
    });
    for client in clients {
        let name = client.identity.client;
        let finding = |number: i64| Finding {
            datname: datname.to_owned(),
            client: name,
            number,
        };
        let numbers = found.remove(&name).unwrap_or_default();
        let present: BTreeSet<i64> = numbers.iter().copied().collect();
        let (acked, in_doubt) = (client.acked(), client.in_doubt());
        let lost = acked.keys().filter(|number| !present.contains(number));
        audit.lost.extend(lost.map(|number| finding(*number)));
        let unknown = |number: &&i64| !acked.contains_key(number) && !in_doubt.contains(number);
        let phantom = present.iter().filter(unknown);
        audit.phantom.extend(phantom.map(|number| finding(*number)));
        audit
            .duplicated
            .extend(repeated(&numbers).into_iter().map(finding));
        audit
            .out_of_order
            .extend(descending(&numbers).into_iter().map(finding));
    }
    for (client, numbers) in found {
        let strange = |number| Finding {
            datname: datname.to_owned(),
            client,
            number,
        };
        audit.phantom.extend(numbers.into_iter().map(strange));
    }
    audit
}

impl WriteAudit {
    /// Whether everything is as it must be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self {
            lost,
            duplicated,
            out_of_order,
            phantom,
            rows: _,
        } = self;
        [lost, duplicated, out_of_order, phantom]
            .iter()
            .all(|findings| findings.is_empty())
    }

    /// Adds what was found in another database.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self {
            lost,
            duplicated,
            out_of_order,
            phantom,
            rows,
        } = other;
        self.lost.extend(lost);
        self.duplicated.extend(duplicated);
        self.out_of_order.extend(out_of_order);
        self.phantom.extend(phantom);
        self.rows += rows;
        self
    }
}

impl fmt::Display for WriteAudit {
    /// One line with the numbers, and the first findings of each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows)?;
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("out of order", &self.out_of_order),
            ("phantom", &self.phantom),
        ];
        for (name, findings) in kinds {
            write!(f, ", {} {name}", findings.len())?;
            let shown: Vec<String> = findings
                .iter()
                .take(SHOWN)
                .map(ToString::to_string)
                .collect();
            if !shown.is_empty() {
                write!(f, " ({})", shown.join("; "))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            datname,
            client,
            number,
        } = self;
        write!(f, "{datname}: client {client}, number {number}")
    }
}

fn repeated(numbers: &[i64]) -> BTreeSet<i64> {
    let mut seen = BTreeSet::new();
    let again = numbers
        .iter()
        .copied()
        .filter(|number| !seen.insert(*number));
    again.collect()
}

/// The numbers that stand behind a higher one. A repeated number is not out of order for that alone.
fn descending(numbers: &[i64]) -> Vec<i64> {
    let mut highest = i64::MIN;
    let mut behind = Vec::new();
    for &number in numbers {
        if number < highest {
            behind.push(number);
        }
        highest = highest.max(number);
    }
    behind
}

const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::clock::{Clock, Moment};
    use super::super::record::{
        ClientRecord, Event, EventKind, Failure, FailureClass, Habit, Identity, Proof,
    };
    use super::*;

    fn record(acked: &[i64], in_doubt: &[i64]) -> Record {
        let at = Moment::from_micros(0);
        let proof = Proof::Reply;
        let acked = acked.iter().map(|&number| EventKind::Acked {
            number,
            server: 1,
            began: at,
            proof,
        });
        let in_doubt = in_doubt.iter().map(|&number| {
            let class = FailureClass::InDoubt;
            EventKind::Failed(Failure {
                class,
                sqlstate: None,
                message: String::new(),
                number: Some(number),
            })
        });
        let events = acked
            .chain(in_doubt)
            .map(|kind| Event { at, kind })
            .collect();
        let identity = Identity {
            client: 7,
            role: Role::Writer,
            habit: Habit::Reconnects,
            datname: "orders".to_owned(),
        };
        Record {
            clock: Clock::start(),
            clients: vec![ClientRecord { identity, events }],
        }
    }

    fn audit(record: &Record, numbers: &[i64]) -> WriteAudit {
        let rows: Vec<Row> = numbers
            .iter()
            .map(|&number| Row { client: 7, number })
            .collect();
        compare(record, "orders", &rows)
    }

    #[test]
    fn what_was_acknowledged_in_order_is_clean() {
        let audit = audit(&record(&[1, 2, 3], &[]), &[1, 2, 3]);
        assert!(audit.is_clean(), "{audit}");
    }

    #[test]
    fn an_acknowledged_write_that_is_absent_is_lost() {
        let audit = audit(&record(&[1, 2, 3], &[]), &[1, 3]);
        assert_eq!(
            audit.to_string(),
            "2 rows, 1 lost (orders: client 7, number 2), 0 duplicated, 0 out of order, 0 phantom"
        );
    }

    #[test]
    fn a_write_that_is_there_twice_is_duplicated() {
        let audit = audit(&record(&[1, 2], &[]), &[1, 2, 2]);
        assert_eq!((audit.duplicated.len(), audit.out_of_order.len()), (1, 0));
    }

    #[test]
    fn a_lower_number_behind_a_higher_one_is_out_of_order() {
        let audit = audit(&record(&[1, 2, 3], &[]), &[1, 3, 2]);
        assert_eq!(audit.out_of_order.len(), 1);
        assert_eq!(
            audit.out_of_order.first().map(|finding| finding.number),
            Some(2)
        );
    }

    #[test]
    fn a_row_that_nobody_wrote_is_a_phantom_unless_it_was_in_doubt() {
        assert!(audit(&record(&[1], &[2]), &[1, 2]).is_clean());
        assert!(audit(&record(&[1], &[2]), &[1]).is_clean());
        assert_eq!(audit(&record(&[1], &[]), &[1, 2]).phantom.len(), 1);
    }

    #[test]
    fn rows_of_an_unknown_client_are_phantoms() {
        let record = record(&[1], &[]);
        let rows = [
            Row {
                client: 7,
                number: 1,
            },
            Row {
                client: 8,
                number: 1,
            },
        ];
        assert_eq!(compare(&record, "orders", &rows).phantom.len(), 1);
    }
}
