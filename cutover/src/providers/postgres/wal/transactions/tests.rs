use super::*;

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

/// Transactions that wrote, each in the database 5.
fn found(writers: &[&str], commits: &[&str]) -> Found {
    let mut found = Found {
        commits: commits.iter().map(|record| Commit::parse(record)).collect(),
        ..Found::default()
    };
    for xid in writers {
        found.add_writer(&format!("{xid} 5"));
    }
    found
}

/// The first ids of the user commits, and of those of which no write was read.
fn judged(mut found: Found, exempt: &[&str]) -> (Vec<String>, Vec<String>) {
    let Judged { users, unclear } = found.judge(&set(exempt));
    let first = |commits: Vec<Commit>| {
        let ids = commits.into_iter().map(|commit| commit.xids[0].clone());
        ids.collect()
    };
    (first(users), first(unclear))
}

fn ids(list: &[&str]) -> Vec<String> {
    list.iter().map(|&id| id.to_owned()).collect()
}

#[test]
fn a_commit_of_whoever_wrote_is_a_users_and_one_without_a_write_is_unclear() {
    assert_eq!(
        judged(found(&["731"], &["COMMIT 731", "COMMIT 732"]), &[]),
        (ids(&["731"]), ids(&["732"]))
    );
}

#[test]
fn a_subtransactions_write_is_the_commits() {
    assert_eq!(
        judged(found(&["733"], &["COMMIT 731 732 733"]), &[]),
        (ids(&["731"]), ids(&[]))
    );
}

#[test]
fn the_engines_own_commits_are_nobodys() {
    assert_eq!(
        judged(found(&["731"], &["COMMIT 731"]), &["731"]),
        (ids(&[]), ids(&[]))
    );
    let mut with_a_message = found(&[], &["COMMIT 731"]);
    with_a_message.own = set(&["731"]);
    assert_eq!(judged(with_a_message, &[]), (ids(&[]), ids(&[])));
}

#[test]
fn a_message_like_the_engines_excuses_no_write() {
    let mut wrote = found(&["731"], &["COMMIT 731"]);
    wrote.own = set(&["731"]);
    assert_eq!(judged(wrote, &[]), (ids(&["731"]), ids(&[])));
}

#[test]
fn what_was_prepared_counts_wherever_it_wrote() {
    assert_eq!(
        judged(found(&[], &["COMMIT_PREPARED 0 731"]), &[]),
        (ids(&["0"]), ids(&[]))
    );
}

#[test]
fn a_judged_commit_is_judged_once() {
    let mut found = found(&["731"], &["COMMIT 731"]);
    assert_eq!(found.judge(&BTreeSet::new()).users.len(), 1);
    assert_eq!(found.judge(&BTreeSet::new()).users.len(), 0);
}

#[test]
fn the_databases_of_a_commit_are_those_of_all_its_transactions() {
    let mut found = found(&["731"], &["COMMIT 731 732"]);
    found.add_writer("731 7");
    found.add_writer("732 9");
    found.add_writer("733 11");
    found.add_writer("");
    let commit = Commit::parse("COMMIT 731 732");
    assert!(found.wrote(&commit));
    assert_eq!(found.databases_of(&commit), ["5", "7", "9"].into());
    assert!(!found.wrote(&Commit::parse("COMMIT 734")));
}

#[test]
fn what_two_stretches_of_wal_say_is_said_of_both() {
    let mut first = found(&["731"], &["COMMIT 731"]);
    let mut second = found(&["732"], &["COMMIT 732"]);
    second.add_writer("731 7");
    second.own = set(&["1"]);
    second.elsewhere = set(&["2"]);
    second.marked = set(&["3"]);
    second.ended = set(&["4"]);
    first.extend(second);
    assert_eq!(first.writers["731"], set(&["5", "7"]));
    assert_eq!(first.writers["732"], set(&["5"]));
    assert_eq!(first.own, set(&["1"]));
    assert_eq!(first.elsewhere, set(&["2"]));
    assert_eq!(first.marked, set(&["3"]));
    assert_eq!(first.ended, set(&["4"]));
    assert_eq!(first.commits.len(), 2);
}
