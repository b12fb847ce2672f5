use super::*;
use crate::{Lsn, ports::BreachKind, steps::Problem};

fn server() -> ServerName {
    ServerName::new("blue").unwrap()
}

fn proof(finding: Finding) -> WriteProof {
    WriteProof {
        method: ProofMethod::WalRecords,
        through: Look {
            lsn: Lsn(0x20),
            xid: 731,
            open: Vec::new(),
            own: Vec::new(),
        },
        finding,
    }
}

fn strangers() -> Strangers {
    Strangers {
        count: 1,
        xids: vec![730],
        not_closable: vec!["rdsadmin".to_owned()],
        ..Strangers::default()
    }
}

fn breach() -> Breach {
    Breach {
        kind: BreachKind::Opened,
        message: "database orders is open".to_owned(),
    }
}

fn not_proven() -> NotProven {
    NotProven {
        server: server(),
        strangers: strangers(),
    }
}

/// What a look finds, in one word and its words.
fn found(breaches: &[Breach], finding: Finding) -> (&'static str, String) {
    match judged(&server(), breaches, proof(finding)) {
        FenceCheck::Holds(_) => ("holds", String::new()),
        FenceCheck::Unproven(found) => ("unproven", found.to_string()),
        FenceCheck::Written(found) => ("written", found),
        FenceCheck::Broken(found) => ("broken", found),
    }
}

#[test]
fn a_fence_holds_where_nobody_wrote_or_only_owners_of_what_cannot_be_closed() {
    assert_eq!(found(&[], Finding::Unwritten).0, "holds");
    assert_eq!(found(&[], Finding::Accepted(strangers())).0, "holds");
}

#[test]
fn an_open_server_is_open_whatever_was_written() {
    for finding in [
        Finding::Unwritten,
        Finding::Written(1),
        Finding::Accepted(strangers()),
        Finding::Unproven(strangers()),
    ] {
        assert_eq!(
            found(&[breach()], finding),
            (
                "broken",
                "the fence of blue does not hold: database orders is open".to_owned()
            )
        );
    }
}

#[test]
fn ids_alone_prove_nothing_and_beside_an_open_fence_they_count_as_writes() {
    assert_eq!(
        found(&[], Finding::Unproven(strangers())),
        ("unproven", not_proven().to_string())
    );
    let changed = Strangers {
        changed: vec!["orders".to_owned(), "stock".to_owned()],
        ..strangers()
    };
    assert_eq!(
        found(&[], Finding::Unproven(changed)),
        (
            "written",
            "1 transaction (730) behind the fence of blue changed orders, stock".to_owned()
        )
    );
    let let_in = Strangers {
        breaches: vec!["database orders is open".to_owned()],
        ..strangers()
    };
    assert_eq!(
        found(&[], Finding::Unproven(let_in)),
        (
            "written",
            "1 transaction (730) behind the fence of blue, which was seen broken: database orders is \
             open; an id does not say what was written"
                .to_owned()
        )
    );
    assert_eq!(
        found(&[], Finding::Written(3)),
        (
            "written",
            "3 transactions were committed on blue behind the fence".to_owned()
        )
    );
}

#[test]
fn a_step_that_can_be_taken_back_goes_on_with_a_proof_and_with_nothing_else() {
    let whole = proof(Finding::Unwritten);
    assert_eq!(FenceCheck::Holds(whole.clone()).proof(), Ok(whole));
    assert_eq!(
        FenceCheck::Unproven(not_proven()).proof(),
        Err(not_proven().to_string())
    );
    for check in [
        FenceCheck::Written("why".to_owned()),
        FenceCheck::Broken("why".to_owned()),
    ] {
        assert_eq!(check.proof(), Err("why".to_owned()));
    }
}

#[test]
fn a_writer_that_comes_back_gets_three_markers_and_no_fourth() {
    let mut taken = 0;
    for expected in [1, 2, 3] {
        taken = another(taken, "a session is left").unwrap();
        assert_eq!(taken, expected);
    }
    let given_up = another(taken, "a session is left").unwrap_err();
    assert_eq!(given_up.problem, Problem::ConditionNotMet);
    assert_eq!(given_up.message, "a session is left");
}

#[test]
fn a_rollback_goes_on_with_what_a_writer_left_only_once_it_is_delivered() {
    assert!(carried(true, "a session is left").is_ok());
    let undone = carried(false, "a session is left").unwrap_err();
    assert_eq!(undone.problem, Problem::ConditionNotMet);
    assert_eq!(undone.message, "a session is left");
}

#[test]
fn by_ids_the_last_look_becomes_the_marker_and_by_records_the_first_one_stays() {
    let by_records = proof(Finding::Unwritten);
    assert_eq!(marker_of(&by_records), None);
    let by_ids = WriteProof {
        method: ProofMethod::TransactionIds,
        ..by_records
    };
    assert_eq!(
        marker_of(&by_ids),
        Some(Marker {
            lsn: Lsn(0x20),
            look: by_ids.through.clone(),
        })
    );
}

#[test]
fn only_silence_counts_as_down_and_only_where_an_operator_asserts_it() {
    let failed = |problem| Err::<(), _>(Failure::new(problem, "why"));
    for asserted_down in [true, false] {
        assert_eq!(unless_down(Ok(()), asserted_down).unwrap(), Ok(()));
        for problem in [Problem::Rejected, Problem::TimedOut, Problem::Superseded] {
            let refused = unless_down(failed(problem), asserted_down).unwrap_err();
            assert_eq!(refused.problem, problem);
        }
    }
    let silent = unless_down(failed(Problem::Unanswered), true).unwrap();
    assert_eq!(silent, Err("why".to_owned()));
    let asked_again = unless_down(failed(Problem::Unanswered), false).unwrap_err();
    assert_eq!(asked_again.problem, Problem::Unanswered);
}

#[test]
fn what_the_target_has_is_given_up_by_an_operators_word_alone() {
    let holds = || FenceCheck::Holds(proof(Finding::Unwritten));
    let unproven = || FenceCheck::Unproven(not_proven());
    let written = || FenceCheck::Written("written".to_owned());
    let broken = || FenceCheck::Broken("open".to_owned());
    let words = [(false, false), (false, true), (true, false), (true, true)];
    for (down, loss) in words {
        assert_eq!(given_up(holds(), down, loss).unwrap(), None);
        // An open target is no target that is down, and has writers.
        let refused = given_up(broken(), down, loss).unwrap_err();
        assert_eq!(refused.problem, Problem::Unprovable);
        assert_eq!(refused.message, "open");
        match given_up(written(), down, loss) {
            Ok(given) => assert!(down && given == Some("written".to_owned())),
            Err(refused) => assert!(!down && refused.problem == Problem::Unprovable),
        }
        match given_up(unproven(), down, loss) {
            Ok(given) => assert!((down || loss) && given == Some(not_proven().to_string())),
            Err(refused) => assert!(!down && !loss && refused.problem == Problem::Unprovable),
        }
    }
}

#[test]
fn the_record_says_by_what_a_proof_stands_and_whose_ids_were_accepted() {
    let whole = proof(Finding::Unwritten);
    assert_eq!(
        nobody_wrote(&server(), &whole),
        "nobody has written on blue since the marker, by WAL records"
    );
    let accepted = proof(Finding::Accepted(strangers()));
    assert_eq!(
        nobody_wrote(&server(), &accepted),
        "nobody has written on blue since the marker, by WAL records; 1 by the owners of rdsadmin, which \
         cannot be closed"
    );
    assert_eq!(
        evidence(&whole),
        json!({
            "method": "wal_records",
            "through": "0/20",
            "xid": 731,
            "finding": "unwritten",
        })
    );
}
