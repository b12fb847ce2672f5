use pointsman_catalog::store::{Key, record};

use super::*;
use crate::{
    Lsn,
    machine::{Event, PromotionDeadline},
    ports::{
        Armed, Exempt, FenceToken, FormerSettings, Look, Marker, ProofMethod, ReverseSlot,
        StandbysSet, Strangers, UserCommit, WalReach,
    },
};

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn marker(lsn: u64) -> Marker {
    Marker::from(Look {
        lsn: Lsn(lsn),
        xid: 730,
        open: vec![728],
        own: Vec::new(),
    })
}

fn token() -> FenceToken {
    FenceToken {
        server: server("blue"),
        system_identifier: "7".to_owned(),
        timeline: 1,
        marker: marker(0x100),
        epoch: 2,
    }
}

fn stream() -> ReverseStream {
    ReverseStream {
        slots: vec![ReverseSlot {
            datname: "orders".to_owned(),
            slot: "pointsman_rb_5".to_owned(),
            lsn: Lsn(0x300),
        }],
        opened: Lsn(0x310),
        coverage: Coverage::Complete,
        armed: Armed::default(),
        gap: None,
        admitted: None,
        given_up_at: None,
    }
}

fn not_proven(xid: u64) -> NotProven {
    NotProven {
        server: server("green"),
        strangers: Strangers {
            count: 1,
            xids: vec![xid],
            not_closable: Vec::new(),
            changed: Vec::new(),
            breaches: Vec::new(),
        },
    }
}

/// Everything that a switch forward and the fence of its rollback find out.
fn whole() -> Vec<Learned> {
    vec![
        Learned::LeaseTaken {
            system_identifier: "7".to_owned(),
        },
        Learned::SetUp {
            timeline: 1,
            exempt: Exempt {
                filenodes: vec!["1663/5/2619".to_owned()],
            },
        },
        Learned::FormerReaders(
            [(DatabaseName::new("orders").unwrap(), vec![server("green")])].into(),
        ),
        Learned::Held {
            until: UnixMillis(9_000),
        },
        Learned::SourceClosed {
            former: FormerSettings::default(),
            token: token(),
        },
        Learned::FenceProved {
            token: token(),
            deadline: Some(PromotionDeadline(UnixMillis(8_000))),
            by: ProofMethod::WalRecords,
        },
        Learned::Promoted {
            promotion: Promotion {
                timeline: 2,
                fork: Lsn(0x200),
            },
            deadline: Some(PromotionDeadline(UnixMillis(8_000))),
        },
        Learned::NotProven(not_proven(731)),
        Learned::Primed {
            stream: stream(),
            by: ProofMethod::TransactionIds,
        },
        Learned::Seen(
            Side::Source,
            ServerSeen {
                reach: Some(WalReach {
                    lsn: Lsn(0x320),
                    ..WalReach::default()
                }),
                commits: vec![UserCommit {
                    xid: 740,
                    databases: vec!["orders".to_owned()],
                }],
                ..ServerSeen::default()
            },
        ),
        Learned::TargetClosed(FencedTarget {
            former: FormerSettings::default(),
            marker: marker(0x400),
        }),
    ]
}

fn known(learned: Vec<Learned>) -> Migration {
    let mut migration = Migration {
        name: "m".to_owned(),
        source: server("blue"),
        target: server("green"),
        databases: vec![PlannedDatabase {
            name: DatabaseName::new("orders").unwrap(),
            datname: "orders".to_owned(),
        }],
        unlisted: [("idle".to_owned(), UnlistedDatabasePolicy::StaysClosed)].into(),
        waived: BTreeSet::new(),
        durable_way_back: false,
        machine: Machine::planned(),
        preflight_passed: Some(UnixMillis(1_000)),
        facts: Facts::default(),
        cause: None,
        journal: JournalHead::default(),
    };
    for learned in learned {
        migration.facts.learn(learned).unwrap();
    }
    migration
}

#[test]
fn a_fact_that_nobody_learned_is_a_refusal_that_names_it() {
    let facts = &known(Vec::new()).facts;
    let missing = [
        facts.system_identifier().unwrap_err(),
        facts.source_timeline().unwrap_err(),
        facts.token().unwrap_err(),
        facts.marker(Direction::Forward).unwrap_err(),
        facts.marker(Direction::Reverse).unwrap_err(),
        facts.former_settings(Side::Source).unwrap_err(),
        facts.former_settings(Side::Target).unwrap_err(),
        facts.promotion().unwrap_err(),
        facts.stream().unwrap_err(),
    ];
    let named = missing.map(|fact| {
        let text = fact.to_string();
        text.split(" is not on record").next().unwrap().to_owned()
    });
    assert_eq!(
        named,
        [
            "the system identifier",
            "the source's timeline",
            "the fence token",
            "the fence token",
            "the marker of the target's fence",
            "what the source's settings were before it was closed",
            "what the target's settings were before it was closed",
            "the target's promotion",
            "the reverse stream",
        ]
    );
    assert_eq!(
        facts.token().unwrap_err().to_string(),
        "the fence token is not on record, and nothing is done on a guess: the journal of this \
         migration is incomplete; `pointsman recover` reads what the servers themselves have \
         recorded"
    );
}

#[test]
fn what_follows_from_a_fence_cannot_be_known_without_it() {
    for learned in [
        Learned::FenceProved {
            token: token(),
            deadline: Some(PromotionDeadline(UnixMillis(1))),
            by: ProofMethod::WalRecords,
        },
        Learned::Promoted {
            promotion: Promotion {
                timeline: 2,
                fork: Lsn(1),
            },
            deadline: Some(PromotionDeadline(UnixMillis(1))),
        },
        Learned::Primed {
            stream: stream(),
            by: ProofMethod::WalRecords,
        },
        Learned::NotProven(not_proven(731)),
        Learned::Armed(Armed::default()),
        Learned::StreamGivenUp,
        Learned::TargetOpened,
    ] {
        let mut facts = Facts::default();
        let before = facts.clone();
        assert!(facts.learn(learned.clone()).is_err(), "{learned:?}");
        assert_eq!(facts, before);
    }
}

#[test]
fn nothing_is_promoted_on_record_without_the_proof_of_the_fence() {
    let mut facts = Facts::default();
    let closed = Learned::SourceClosed {
        former: FormerSettings::default(),
        token: token(),
    };
    facts.learn(closed).unwrap();
    let before = facts.clone();
    for learned in [
        Learned::PromotionAsked(AskedPromotion {
            at: UnixMillis(1),
            replayed: Lsn(1),
        }),
        Learned::Promoted {
            promotion: Promotion {
                timeline: 2,
                fork: Lsn(1),
            },
            deadline: None,
        },
    ] {
        let missing = facts.learn(learned).unwrap_err().to_string();
        assert!(
            missing.starts_with("the proof of the source's fence"),
            "{missing}"
        );
        assert_eq!(facts, before);
    }
}

#[test]
fn a_forward_switch_forgets_the_fence_and_a_reverse_one_only_the_targets() {
    let mut back = known(whole());
    back.begin_switch(Direction::Reverse);
    assert_eq!(back.facts.hold_until(), None);
    assert!(back.facts.former_settings(Side::Source).is_ok());
    assert!(back.facts.stream().is_ok());
    assert!(back.facts.marker(Direction::Reverse).is_err());
    let mut again = known(whole());
    again.cause = Some("a disk was full".to_owned());
    again.begin_switch(Direction::Forward);
    assert_eq!(again.cause, None);
    assert!(again.facts.token().is_err());
    assert!(again.facts.promotion().is_err());
    assert_eq!(again.facts.lease(), Some("7"));
    assert_eq!(again.facts.exempt().filenodes, ["1663/5/2619"]);
    assert_eq!(again.facts.former_readers().len(), 1);
}

#[test]
fn by_what_a_proof_stands_and_what_is_not_proven_is_on_record_by_server() {
    let mut migration = known(whole());
    let facts = &mut migration.facts;
    assert_eq!(facts.proved_by(Side::Source), Some(ProofMethod::WalRecords));
    assert_eq!(
        facts.proved_by(Side::Target),
        Some(ProofMethod::TransactionIds)
    );
    // The step was tried again.
    facts.learn(Learned::NotProven(not_proven(732))).unwrap();
    assert_eq!(facts.not_proven(), [not_proven(732)]);
    assert_eq!(
        not_proven(732).to_string(),
        "1 transaction (732) behind the fence of green: not the engine's, and an id does not say \
         what was written"
    );
    let since = facts.promoted_at().unwrap();
    assert_eq!((since.lsn, since.xid), (Lsn(0x200), 730));
}

#[test]
fn roles_that_a_first_arming_took_login_from_stay_on_record() {
    let armed = |roles: &[&str]| {
        Learned::Armed(Armed {
            nologin_roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Armed::default()
        })
    };
    let mut migration = known(whole());
    migration.facts.learn(armed(&["dba"])).unwrap();
    migration.facts.learn(armed(&[])).unwrap();
    migration.facts.learn(armed(&["dba", "ops"])).unwrap();
    let stream = migration.facts.stream().unwrap();
    assert_eq!(stream.armed.nologin_roles, ["dba", "ops"]);
}

/// What is in the stores of running control planes; another form needs another format number.
#[test]
fn the_stored_form_is_pinned() {
    let key = Key::new("migrations/m");
    let stored = record::encode(&key, &known(whole())).unwrap();
    assert_eq!(
        String::from_utf8(stored.clone()).unwrap(),
        concat!(
            r#"{"format":5,"record":{"name":"m","source":"blue","target":"green","#,
            r#""databases":[{"name":"orders","datname":"orders"}],"#,
            r#""unlisted":{"idle":"stays-closed"},"#,
            r#""machine":{"state":{"phase":"planned"},"epoch":1,"switches":0,"assertion":null,"#,
            r#""alarm_backoff":null,"readers":"settled","fence_proof":"owed","promotion_awaited_since":null,"#,
            r#""left_source":"quiet"},"#,
            r#""preflight_passed":1000,"#,
            r#""facts":{"system_identifier":"7","source_timeline":1,"#,
            r#""exempt":{"filenodes":["1663/5/2619"]},"#,
            r#""former_readers":{"orders":["green"]},"hold_until":9000,"promotion_outlook":null,"#,
            r#""source":{"former":{"databases":[],"hba":null,"acls":{},"not_closable":[]},"#,
            r#""token":{"server":"blue","system_identifier":"7","timeline":1,"#,
            r#""marker":{"lsn":"0/100","look":{"lsn":"0/100","xid":730,"open":[728],"own":[]}},"#,
            r#""epoch":2},"proof":{"by":"wal_records","promotion_deadline":8000,"asked":null,"#,
            r#""target":{"promotion":{"timeline":2,"fork":"0/200"},"proved_by":"transaction_ids","#,
            r#""stream":{"slots":[{"datname":"orders","slot":"pointsman_rb_5","lsn":"0/300"}],"#,
            r#""opened":"0/310","coverage":"complete","armed":{"nologin_roles":[],"still_admitted":[]},"gap":null},"#,
            r#""fence":{"former":{"databases":[],"hba":null,"acls":{},"not_closable":[]},"#,
            r#""marker":{"lsn":"0/400","look":{"lsn":"0/400","xid":730,"open":[728],"own":[]}}}}},"#,
            r#""not_proven":[{"server":"green","strangers":{"count":1,"xids":[731],"#,
            r#""not_closable":[],"changed":[]}}],"#,
            r#""watch":{"reach":{"lsn":"0/320"},"count":1,"#,
            r#""commits":[{"xid":740,"databases":["orders"]}],"breaches":[],"sessions":[]}},"#,
            r#""no_way_back":null},"#,
            r#""cause":null,"journal":{"entries":0,"hash":""}}}"#
        )
    );
    let read: Migration = record::decode(&key, &stored).unwrap();
    assert_eq!(read, known(whole()));
}

/// A rollback that gave them up was undone.
#[test]
fn what_others_did_is_news_as_long_as_the_machine_has_not_heard_of_it() {
    let mut migration = known(whole());
    assert!(migration.unheard_of_source().is_some());
    let switched = [Event::StartRequested, Event::Done, Event::SwitchRequested];
    let baked = switched.into_iter().chain([Event::Done; 8]);
    for event in baked.chain([Event::SourceFenceBroken]) {
        migration.machine = migration
            .machine
            .apply(event, UnixMillis(1))
            .unwrap()
            .machine;
    }
    assert!(migration.unheard_of_source().is_none());
    assert!(known(Vec::new()).unheard_of_source().is_none());
}

/// That nothing had been set is something to give back, too.
#[test]
fn what_was_set_before_commits_waited_is_read_as_it_was_written() {
    let key = Key::new("migrations/m");
    for by_alter_system in [None, Some("FIRST 1 (red)".to_owned())] {
        let before = StandbysSet { by_alter_system };
        let migration = known(vec![Learned::Durable(Some(before.clone()))]);
        let stored = record::encode(&key, &migration).unwrap();
        let read: Migration = record::decode(&key, &stored).unwrap();
        assert_eq!(read.facts.before_durable(), Some(&before));
    }
}

#[test]
fn what_was_seen_on_a_server_belongs_to_its_fence() {
    let mut migration = known(whole());
    let seen = ServerSeen {
        breaches: vec!["database orders is open".to_owned()],
        ..ServerSeen::default()
    };
    let facts = &mut migration.facts;
    facts.learn(Learned::Seen(Side::Target, seen)).unwrap();
    let is_disturbed =
        |facts: &Facts, side| facts.watch(side).is_some_and(ServerWatch::is_disturbed);
    assert!(is_disturbed(facts, Side::Target));
    let closed_anew = Learned::TargetClosed(FencedTarget {
        former: FormerSettings::default(),
        marker: marker(0x500),
    });
    facts.learn(closed_anew).unwrap();
    assert!(!is_disturbed(facts, Side::Target));
    // What was seen on the source stays.
    assert!(is_disturbed(facts, Side::Source));
}
