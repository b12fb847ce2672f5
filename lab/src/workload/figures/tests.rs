use super::super::clock::Clock;
use super::super::record::Event;
use super::*;

const OLD: u16 = 1;
const NEW: u16 = 2;

fn ms(value: i64) -> Moment {
    Moment::from_micros(value * 1000)
}

fn ack(began: i64, at: i64, server: u16) -> Event {
    let proof = Proof::Reply;
    let kind = EventKind::Acked {
        number: at,
        server,
        began: ms(began),
        proof,
    };
    Event { at: ms(at), kind }
}

fn read(began: i64, at: i64) -> Event {
    let kind = EventKind::Read {
        server: NEW,
        began: ms(began),
    };
    Event { at: ms(at), kind }
}

fn error(at: i64, class: FailureClass) -> Event {
    let failure = Failure {
        class,
        sqlstate: None,
        message: String::new(),
        number: None,
    };
    Event {
        at: ms(at),
        kind: EventKind::Failed(failure),
    }
}

fn client(role: Role, habit: Habit, events: Vec<Event>) -> ClientRecord {
    let datname = "orders".to_owned();
    let identity = Identity {
        client: 1,
        role,
        habit,
        datname,
    };
    ClientRecord { identity, events }
}

fn figures(clients: Vec<ClientRecord>) -> anyhow::Result<Figures> {
    let record = Record {
        clock: Clock::start(),
        clients,
    };
    record.figures(&Switch {
        hold: ms(100),
        old: OLD,
        new: NEW,
        until: ms(1000),
        fault: Some("25006"),
    })
}

#[test]
fn the_write_pause_spans_all_clients_and_the_worst_wait_is_one_clients_own() {
    let keeps = client(
        Role::Writer,
        Habit::KeepsSession,
        vec![
            ack(90, 95, OLD),
            ack(140, 150, OLD),
            error(160, FailureClass::SessionLost),
            ack(160, 305, NEW),
            ack(310, 900, NEW),
        ],
    );
    let reconnects = client(
        Role::Writer,
        Habit::Reconnects,
        vec![ack(98, 110, OLD), ack(115, 300, NEW)],
    );
    let figures = figures(vec![keeps, reconnects]).unwrap();
    assert_eq!(
        figures.write_pause_ms, 150.0,
        "from 150 on the old to 300 on the new"
    );
    assert_eq!(
        figures.worst_client_ms, 185.0,
        "a write after the window does not count"
    );
    assert_eq!(figures.max_errors_per_session_client, 1);
    assert_eq!(figures.errors_of_reconnecting_clients, 0);
}

#[test]
fn what_lies_before_the_hold_is_told_apart() {
    let writer = client(
        Role::Writer,
        Habit::KeepsSession,
        vec![
            ack(10, 20, OLD),
            error(40, FailureClass::Statement),
            error(60, FailureClass::Statement),
            error(120, FailureClass::SessionLost),
            ack(40, 250, NEW),
        ],
    );
    let figures = figures(vec![writer]).unwrap();
    assert_eq!(figures.write_pause_ms, 230.0);
    assert_eq!(figures.write_pause_after_hold_ms, 150.0);
    assert_eq!(figures.worst_client_ms, 210.0);
    assert_eq!(figures.worst_client_after_hold_ms, 150.0);
    assert_eq!(
        figures.max_errors_per_session_client, 1,
        "the fault's errors are not the switch's"
    );
}

#[test]
fn a_broken_servers_refusals_after_the_hold_are_counted_apart() {
    let mut refusal = error(110, FailureClass::Statement);
    if let EventKind::Failed(failure) = &mut refusal.kind {
        failure.sqlstate = Some("25006".to_owned());
    }
    let events = vec![ack(90, 95, OLD), refusal, ack(100, 300, NEW)];
    let writer = client(Role::Writer, Habit::Reconnects, events);
    let figures = figures(vec![writer]).unwrap();
    assert_eq!((figures.errors, figures.errors_of_the_fault), (0, 1));
    assert_eq!(figures.errors_of_reconnecting_clients, 0);
}

#[test]
fn two_writers_at_once_make_the_pause_negative() {
    let one = client(
        Role::Writer,
        Habit::KeepsSession,
        vec![ack(90, 95, OLD), ack(200, 210, NEW)],
    );
    let other = client(
        Role::Writer,
        Habit::KeepsSession,
        vec![ack(90, 95, OLD), ack(215, 220, OLD), ack(230, 240, NEW)],
    );
    assert_eq!(figures(vec![one, other]).unwrap().write_pause_ms, -10.0);
}

#[test]
fn a_reader_is_through_when_it_is_answered_after_the_release() {
    let writer = client(
        Role::Writer,
        Habit::KeepsSession,
        vec![ack(90, 95, OLD), ack(110, 300, NEW)],
    );
    let reader = client(
        Role::Reader,
        Habit::Reconnects,
        vec![
            read(120, 280),
            error(310, FailureClass::Connect),
            read(305, 330),
            read(340, 900),
        ],
    );
    let figures = figures(vec![writer, reader]).unwrap();
    assert_eq!(figures.reader_gap_ms, 160.0);
    assert_eq!(figures.reader_errors_new_connections, 1);
    assert_eq!(figures.connect_errors, 1);
}

#[test]
fn a_client_that_never_comes_back_is_an_error() {
    let through = vec![ack(90, 95, OLD), ack(110, 300, NEW)];
    let stuck = vec![ack(90, 95, OLD)];
    let clients = [through, stuck].map(|events| client(Role::Writer, Habit::Reconnects, events));
    let error = figures(clients.to_vec()).unwrap_err();
    assert!(error.to_string().contains("did not get through"), "{error}");
}
