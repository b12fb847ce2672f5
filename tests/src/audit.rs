//! What must hold whatever happened: one writer, nobody parked.

use std::{net::SocketAddr, time::Duration};

use pointsman_lab::{
    Lab,
    postgres::PostgresServer,
    workload::{EventKind, Login, Moment, Proof, Record, Session},
};
use tokio::time::timeout;

/// How often the clients' writes went from one server to another, as their acknowledgements prove it.
#[must_use]
pub fn changes_of_writer(record: &Record) -> usize {
    let mut acked: Vec<(Moment, Moment, u16)> = Vec::new();
    for client in record.writers() {
        for event in &client.events {
            if let EventKind::Acked {
                server,
                began,
                proof: Proof::Reply,
                ..
            } = event.kind
            {
                acked.push((event.at, began, server));
            }
        }
    }
    acked.sort_unstable();
    changes(&acked)
}

/// The longest chain of writes on alternating servers, each begun after the one before it was
/// acknowledged; `acked` (when, since when, by whom) is in the order of acknowledgement.
fn changes(acked: &[(Moment, Moment, u16)]) -> usize {
    let Some(&(mut last, _, mut writer)) = acked.first() else {
        return 0;
    };
    let mut changes = 0;
    for &(at, began, server) in acked {
        if server != writer && began > last {
            (last, writer) = (at, server);
            changes += 1;
        }
    }
    changes
}

/// Whether `server` lets the applications' role write, tried and taken back.
pub async fn accepts_writes(server: &PostgresServer) -> bool {
    let attempt = async {
        let session = server.client_as("app", "orders").await?;
        session
            .batch_execute("BEGIN; INSERT INTO writes (client, number) VALUES (-1, 1); ROLLBACK")
            .await?;
        anyhow::Ok(())
    };
    timeout(SOON, attempt)
        .await
        .is_ok_and(|tried| tried.is_ok())
}

/// How many new connections are parked, neither served nor refused, at these addresses of databases.
pub async fn parked(ways: &[(SocketAddr, &str)]) -> usize {
    let mut parked = 0;
    for (address, datname) in ways {
        let login = Login {
            user: "app".to_owned(),
            password: None,
            tls: None,
            datname: (*datname).to_owned(),
            application_name: "late".to_owned(),
        };
        let opening = Session::open(*address, &login, SOON);
        parked += usize::from(timeout(SOON / 8, opening).await.is_err());
    }
    parked
}

/// The addresses at which the sidecars of `lab` serve each database, to writers and to readers.
#[must_use]
pub fn ways(lab: &Lab) -> Vec<(SocketAddr, &str)> {
    let sidecars = (0..).zip(&lab.sidecars).map(|(number, _)| number);
    sidecars
        .flat_map(|number| {
            lab.databases.iter().flat_map(move |database| {
                let name = database.name.as_str();
                [lab.writer(number, database), lab.reader(number, database)]
                    .map(|address| (address, name))
            })
        })
        .collect()
}

/// No wait lasts longer.
const SOON: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(writes: &[(i64, i64, u16)]) -> Vec<(Moment, Moment, u16)> {
        let moment = Moment::from_micros;
        let writes = writes.iter();
        writes
            .map(|&(began, at, server)| (moment(at), moment(began), server))
            .collect()
    }

    #[test]
    fn a_switch_there_and_back_changes_the_writer_twice() {
        let writes = acked(&[(1, 2, 1), (1, 3, 1), (4, 5, 2), (4, 6, 2), (7, 8, 1)]);
        assert_eq!(changes(&writes), 2);
    }

    #[test]
    fn two_writers_change_with_each_write() {
        let writes = acked(&[(1, 2, 1), (3, 4, 2), (5, 6, 1), (7, 8, 2)]);
        assert_eq!(changes(&writes), 3);
    }

    #[test]
    fn a_write_that_waited_for_its_server_proves_nothing() {
        let writes = acked(&[(1, 5, 1), (2, 6, 2), (3, 7, 1)]);
        assert_eq!(changes(&writes), 0);
    }
}
