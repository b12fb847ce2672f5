//! What must hold whatever happened: nothing lost, one writer, nobody parked, nothing left behind.

use anyhow::Result;
use pointsman_lab::{
    postgres::PostgresServer,
    workload::{EventKind, Login, Moment, Proof, Record, Session},
};
use tokio::time::timeout;

use super::stage::{SOON, Stage};

/// How often the clients' writes went from one server to another, as their acknowledgements prove it.
pub(super) fn changes_of_writer(record: &Record) -> usize {
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
pub(super) async fn accepts_writes(server: &PostgresServer) -> bool {
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

/// How many new connections through sidecars are parked: neither served nor refused.
pub(super) async fn parked(stage: &Stage) -> Result<usize> {
    let mut parked = 0;
    for (number, _) in (0..).zip(&stage.lab.sidecars) {
        for database in &stage.lab.databases {
            let login = Login {
                user: "app".to_owned(),
                password: None,
                tls: None,
                datname: database.name.clone(),
                application_name: "late".to_owned(),
            };
            for address in [
                stage.lab.writer(number, database),
                stage.lab.reader(number, database),
            ] {
                let opening = Session::open(address, &login, SOON);
                parked += usize::from(timeout(SOON / 8, opening).await.is_err());
            }
        }
    }
    Ok(parked)
}

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
