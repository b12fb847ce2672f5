//! A sample within bounds that take seconds. `make model` goes through the whole.

use pointsman_model::{Pass, Promotion, Report, Troubles};

fn holds(promotion: Promotion) {
    let bounds = Troubles::small();
    let pass = Pass::of(promotion, bounds, 2);
    let states = (Some(pass.states), pass.states_by_stateright);
    let report = Report::new(bounds, vec![pass], std::time::Duration::ZERO);
    let broken = &report.broken;
    assert!(broken.is_empty(), "{broken:?}: {report:#?}");
    assert_eq!(states.0, states.1, "two searches of the same worlds");
}

#[test]
fn every_promise_holds_where_sql_promotes() {
    holds(Promotion::Guarded);
}

#[test]
fn every_promise_holds_where_an_api_promotes() {
    holds(Promotion::Managed);
}
