//! Requests and answers about migrations, as messages of the API.

use std::collections::BTreeMap;

use pointsman_catalog::ServerName;
use pointsman_cutover::{
    NewMigration, Status as MigrationStatus, WayBack,
    checks::{Finding, Report},
    journal::Entry,
    machine::{Side, State},
    migration::{Migration, UnlistedDatabasePolicy},
};
use pointsman_proto::v1;
use serde::Serialize;
use serde_json::Value;
use tonic::Status;

use super::grpc_status::invalid;

pub(super) fn wanted(request: v1::CreateMigrationRequest) -> Result<NewMigration, Status> {
    let mut unlisted = BTreeMap::new();
    for (datname, policy) in request.unlisted {
        let policy = match policy.as_str() {
            "moves" => UnlistedDatabasePolicy::Moves,
            "stays-closed" => UnlistedDatabasePolicy::StaysClosed,
            _ => {
                return Err(invalid(format_args!(
                    "the policy of the unlisted database {datname} is {policy:?}; allowed: moves, \
                     stays-closed"
                )));
            }
        };
        unlisted.insert(datname, policy);
    }
    Ok(NewMigration {
        name: request.name,
        source: ServerName::new(request.source).map_err(invalid)?,
        target: ServerName::new(request.target).map_err(invalid)?,
        unlisted,
        waived: request
            .waived
            .iter()
            .map(|waived| waived.parse().map_err(invalid))
            .collect::<Result<_, _>>()?,
        durable_way_back: request.durable_way_back,
    })
}

/// Servers by their names.
pub(super) fn servers(names: &[String]) -> Result<Vec<ServerName>, Status> {
    let names = names.iter();
    names.map(|name| name.parse().map_err(invalid)).collect()
}

pub(super) fn message(status: &MigrationStatus) -> v1::Migration {
    message_since(status, 0)
}

/// The same, without the first `sent` entries of the timeline.
pub(super) fn message_since(status: &MigrationStatus, sent: usize) -> v1::Migration {
    let migration = &status.migration;
    v1::Migration {
        name: migration.name.clone(),
        source: migration.source.to_string(),
        target: migration.target.to_string(),
        state: migration.state().label().to_owned(),
        direction: status.direction().to_owned(),
        step: status.step().to_owned(),
        epoch: migration.machine.epoch(),
        databases: migration
            .databases
            .iter()
            .map(|database| database.name.to_string())
            .collect(),
        headline: status.headline.clone(),
        way_back: Some(way_back(&status.way_back)),
        reverse_stream: status.reverse_stream().to_owned(),
        hold_until_ms: migration.facts.hold_until().map_or(0, |until| until.0),
        cause: migration.cause.clone().unwrap_or_default(),
        choices: status
            .choices
            .iter()
            .map(|choice| v1::Choice {
                name: choice.name.to_string(),
                message: choice.message.clone(),
            })
            .collect(),
        old_writer: status.old_writer.as_ref().map_or_else(String::new, |left| {
            format!("{left} on {}, as the sidecars report", migration.source)
        }),
        alarm_warnings: status.alarm_warnings.clone(),
        timeline: status.entries.iter().skip(sent).map(entry).collect(),
        proofs: [Side::Source, Side::Target]
            .into_iter()
            .filter_map(|side| proof(migration, side))
            .filter(|_| stands_on_proofs(migration.state()))
            .collect(),
        unlisted: migration
            .unlisted
            .iter()
            .map(|(datname, &policy)| (datname.clone(), policy_name(policy).to_owned()))
            .collect(),
        waived: migration.waived.iter().map(ToString::to_string).collect(),
        not_driven: status.not_driven.clone().unwrap_or_default(),
        durable_way_back: migration.durable_way_back,
    }
}

/// A migration of which nothing but its name is known.
pub(super) fn unreadable(name: String, cause: String) -> v1::Migration {
    v1::Migration {
        name,
        state: "unreadable".to_owned(),
        headline: format!("not driven: its record cannot be read: {cause}"),
        not_driven: cause,
        ..v1::Migration::default()
    }
}

const fn policy_name(policy: UnlistedDatabasePolicy) -> &'static str {
    match policy {
        UnlistedDatabasePolicy::Moves => "moves",
        UnlistedDatabasePolicy::StaysClosed => "stays-closed",
    }
}

/// Elsewhere the servers are open again, and what was proved is history.
fn stands_on_proofs(state: State) -> bool {
    matches!(
        state,
        State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Baking { .. }
            | State::NeedsOperator { .. }
    )
}

fn proof(migration: &Migration, side: Side) -> Option<v1::WriteProof> {
    Some(v1::WriteProof {
        server: migration.server(side).to_string(),
        method: variant_name(&migration.facts.proved_by(side)?),
    })
}

fn way_back(way_back: &WayBack) -> v1::WayBack {
    v1::WayBack {
        kind: variant_name(&way_back.kind),
        lossless: way_back.lossless,
        writes_at_risk: way_back.writes_at_risk,
        message: way_back.message.clone(),
    }
}

fn entry(entry: &Entry) -> v1::TimelineEntry {
    v1::TimelineEntry {
        switch: entry.switch,
        at_ms: entry.at.0,
        offset_us: entry.offset_us,
        took_us: entry.took_us,
        step: entry.step.clone(),
        event: variant_name(&entry.kind),
        message: entry.message.clone(),
        evidence: entry.evidence.to_string(),
    }
}

pub(super) fn report(report: &Report) -> v1::PreflightReport {
    v1::PreflightReport {
        verdict: variant_name(&report.verdict()),
        findings: report.findings.iter().map(finding).collect(),
    }
}

fn finding(finding: &Finding) -> v1::Finding {
    v1::Finding {
        id: finding.id.clone(),
        slug: finding.slug.clone(),
        severity: variant_name(&finding.severity),
        result: variant_name(&finding.result),
        location: finding.location.clone(),
        evidence: Value::Array(finding.evidence.clone()).to_string(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        took_ms: finding.took_ms,
        at_ms: finding.at.0,
    }
}

/// A variant's name, as its JSON has it.
fn variant_name(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use pointsman_cutover::{WayBackKind, checks::Verdict, journal::EntryKind};

    use super::*;

    #[test]
    fn variants_are_named_as_in_the_api() {
        assert_eq!(variant_name(&EntryKind::Intent), "intent");
        assert_eq!(variant_name(&Verdict::Blocked), "blocked");
        assert_eq!(
            variant_name(&WayBackKind::CloseAndReopen),
            "close_and_reopen"
        );
    }

    #[test]
    fn an_unknown_policy_is_answered_with_the_known_ones() {
        let request = v1::CreateMigrationRequest {
            name: "m".to_owned(),
            source: "blue".to_owned(),
            target: "green".to_owned(),
            unlisted: [("legacy".to_owned(), "dies".to_owned())].into(),
            ..v1::CreateMigrationRequest::default()
        };
        let status = wanted(request).unwrap_err();
        assert_eq!(
            status.message(),
            "the policy of the unlisted database legacy is \"dies\"; allowed: moves, stays-closed"
        );
    }

    #[test]
    fn what_cannot_be_waived_is_answered_with_what_can() {
        let request = |waived: &str| v1::CreateMigrationRequest {
            name: "m".to_owned(),
            source: "blue".to_owned(),
            target: "green".to_owned(),
            waived: vec![waived.to_owned()],
            ..v1::CreateMigrationRequest::default()
        };
        assert_eq!(
            wanted(request("S4")).unwrap_err().message(),
            "\"S4\" is nothing that can be waived; allowed: S6=NAME, S9, S11"
        );
        let accepted = wanted(request("S6=reports")).unwrap().waived;
        assert!(accepted.iter().map(ToString::to_string).eq(["S6=reports"]));
    }
}
