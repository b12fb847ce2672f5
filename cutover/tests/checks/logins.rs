//! Roles that pass the fence of the bake, however many there are.

use pointsman_cutover::checks::{Moment, Outcome};

use super::{Setting, find, make_clean_databases, pair::Pair, replayed};

const MANY: usize = 60;

#[tokio::test]
async fn every_role_that_cannot_be_kept_out_of_the_bake_is_named() {
    let pair = Pair::start_on(Some(17)).await;
    make_clean_databases(&pair.source).await;
    let superusers = format!(
        "DO $$ BEGIN FOR n IN 1..{MANY} LOOP \
           EXECUTE format('CREATE ROLE boss_%s SUPERUSER LOGIN', n); END LOOP; END $$"
    );
    let keeper = "CREATE ROLE keeper LOGIN CREATEDB REPLICATION";
    let roles = [superusers.as_str(), keeper, "GRANT pg_monitor TO keeper"];
    pair.source.execute("postgres", &roles).await;
    let setting = Setting::of(&pair);
    replayed(&pair.source, &setting).await;
    let report = setting.run(Moment::Pre, "keeper").await;
    let found = find(&report, "G2", "source");
    assert_ne!(found.result, Outcome::Pass, "{found:#?}");
    let named = |role: &str| found.evidence.iter().any(|one| one["object"] == role);
    for n in 1..=MANY {
        assert!(named(&format!("boss_{n}")), "boss_{n} is not named");
    }
    assert!(named("postgres"));
}
