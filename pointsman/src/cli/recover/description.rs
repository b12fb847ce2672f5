//! A fence record, for people.

use pointsman_cutover::ports::{FenceRecord, FormerSettings};

/// What a switch left in a server, and how it was before.
pub(super) fn describe(record: Option<&FenceRecord>) -> String {
    let Some(record) = record else {
        return "no fence: no switch left this server closed".to_owned();
    };
    let databases: Vec<_> = record
        .former
        .databases
        .iter()
        .map(|database| {
            format!(
                "  {:<20} connections {}, limit {}",
                database.datname,
                if database.allow_connections {
                    "allowed"
                } else {
                    "not allowed"
                },
                database.connection_limit
            )
        })
        .collect();
    format!(
        "fenced by migration {} at epoch {}\nserver      {}\ntimeline    {}\npg_hba.conf {}\n\
         before the fence:\n{}",
        record.migration,
        record.epoch,
        record.server,
        record.timeline,
        if record.former.hba.is_some() {
            "replaced; the former text is in the record"
        } else {
            "untouched"
        },
        databases.join("\n")
    ) + &describe_access_lists(&record.former)
}

fn describe_access_lists(former: &FormerSettings) -> String {
    if former.acls.is_empty() {
        return String::new();
    }
    format!(
        "\nCONNECT may be taken from everybody but the control role in {}; the former access \
         lists are in the record\nnot closed, for want of ownership: {}",
        former.acls.keys().cloned().collect::<Vec<_>>().join(", "),
        if former.not_closable.is_empty() {
            "none".to_owned()
        } else {
            former.not_closable.join(", ")
        }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pointsman_catalog::ServerName;
    use pointsman_cutover::ports::DatabaseSettings;

    use super::*;

    #[test]
    fn a_record_reads_as_what_was_closed_and_how_it_was() {
        let record = FenceRecord {
            migration: "to-green".to_owned(),
            epoch: 3,
            server: ServerName::new("blue").unwrap(),
            timeline: 1,
            promoted_by_api: false,
            promote_within: Duration::from_secs(5),
            former: FormerSettings {
                databases: vec![DatabaseSettings {
                    datname: "orders".to_owned(),
                    oid: 16_384,
                    allow_connections: true,
                    connection_limit: -1,
                    is_template: false,
                }],
                hba: Some("local all all trust\n".to_owned()),
                ..FormerSettings::default()
            },
        };
        insta::assert_snapshot!(describe(Some(&record)));
    }
}
