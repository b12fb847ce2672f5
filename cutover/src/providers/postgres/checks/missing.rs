//! Rights that a role lacks, and what a check says about them.

use serde::Serialize;

use super::super::{
    grants::{Right, Without},
    statements::identifier,
};
use crate::checks::Judgement;

/// A right that a role lacks on one object.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Missing {
    #[serde(skip)]
    right: Right,
    may_not: &'static str,
    /// A database, table, sequence or role; empty where the right has none.
    object: String,
    /// The statements that grant it, where SQL can; else what to do.
    grant: String,
    /// The database to run them in, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    given_up: &'static str,
    /// What is wrong, where it is another role that lacks the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_role: Option<String>,
}

impl Missing {
    pub(super) fn new(right: Right, object: impl Into<String>, grant: impl Into<String>) -> Self {
        Self {
            right,
            may_not: right.action,
            object: object.into(),
            grant: grant.into(),
            database: None,
            given_up: right.given_up,
            other_role: None,
        }
    }

    /// Another role than the judged one lacks it; `what` names it and says what is wrong.
    pub(super) fn of_role(self, what: String) -> Self {
        Self {
            other_role: Some(what),
            ..self
        }
    }

    /// Its statements are to be run in `datname`.
    pub(super) fn granted_in(self, datname: &str) -> Self {
        Self {
            database: Some(datname.to_owned()),
            ..self
        }
    }

    fn remedy(&self) -> String {
        match &self.database {
            Some(datname) => format!("in database {datname}: {}", self.grant),
            None => self.grant.clone(),
        }
    }
}

/// What `role` lacks on `server`, with the statements that mend it; a pass that says
/// `otherwise` if that is nothing.
pub(super) fn judge(
    server: &str,
    role: &str,
    missing: &[Missing],
    otherwise: impl Into<String>,
) -> Judgement {
    if missing.is_empty() {
        return Judgement::pass(otherwise);
    }
    let (others, own): (Vec<_>, Vec<_>) = missing.iter().partition(|one| one.other_role.is_some());
    let mut clauses = Vec::new();
    if !own.is_empty() {
        clauses.push(format!("role {role} of {server} {}", listed(&own)));
    }
    clauses.extend(others.iter().filter_map(|one| {
        let what = one.other_role.as_ref()?;
        Some(format!("{what}: {}", one.given_up))
    }));
    let message = clauses.join("; ");
    let remedy = statements(missing);
    let lesser = missing
        .iter()
        .all(|missing| missing.right.without == Without::Warns);
    let judgement = if lesser {
        Judgement::warn(message, remedy)
    } else {
        Judgement::fail(message, remedy)
    };
    judgement.with(missing)
}

/// A clause for each right, with the objects on which it is missing.
fn listed(missing: &[&Missing]) -> String {
    let mut clauses: Vec<(&Missing, Vec<&str>)> = Vec::new();
    for &one in missing {
        match clauses
            .iter_mut()
            .find(|(known, _)| known.may_not == one.may_not)
        {
            Some((_, objects)) => objects.push(&one.object),
            None => clauses.push((one, vec![&one.object])),
        }
    }
    let clauses: Vec<_> = clauses
        .iter()
        .map(|(one, objects)| {
            format!(
                "may not {}{}: {}",
                one.may_not,
                named(objects),
                one.given_up
            )
        })
        .collect();
    clauses.join("; ")
}

fn named(objects: &[&str]) -> String {
    let named: Vec<_> = objects
        .iter()
        .copied()
        .filter(|object| !object.is_empty())
        .collect();
    match named.as_slice() {
        [] => String::new(),
        all if all.len() <= SHOWN => format!(" ({})", all.join(", ")),
        all => format!(
            " ({} and {} more)",
            all[..SHOWN].join(", "),
            all.len() - SHOWN
        ),
    }
}

/// Each statement once.
fn statements(missing: &[Missing]) -> String {
    let mut statements: Vec<String> = Vec::new();
    for remedy in missing.iter().map(Missing::remedy) {
        if !statements.contains(&remedy) {
            statements.push(remedy);
        }
    }
    let more = statements.len().saturating_sub(STATEMENTS);
    statements.truncate(STATEMENTS);
    let mut text = statements.join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more, in the evidence"));
    }
    text
}

/// Makes `member` a member of `role`, which it may then act for. Before 16 each member may.
pub(super) fn grant_role(role: &str, member: &str, version: i64) -> String {
    let options = if version >= GRANT_OPTIONS {
        " WITH INHERIT TRUE, SET TRUE"
    } else {
        ""
    };
    format!(
        "GRANT {} TO {}{options}",
        identifier(role),
        identifier(member)
    )
}

/// `server_version_num` of the first release in which a grant says whether it is inherited.
const GRANT_OPTIONS: i64 = 160_000;
/// Objects in a message, and statements in a remedy; the evidence has all.
const SHOWN: usize = 3;
const STATEMENTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::Grade,
        providers::postgres::grants::{CLOSE_DATABASE, CLOSE_OTHERS},
    };

    #[test]
    fn what_is_missing_is_named_with_its_objects_and_each_statement_once() {
        let close = |datname| Missing::new(CLOSE_DATABASE, datname, "GRANT a TO b");
        let missing = ["x", "y", "z", "w"].map(close);
        let judgement = judge("blue", "pointsman", &missing, "");
        assert_eq!(judgement.grade, Grade::Fail);
        assert_eq!(
            judgement.message,
            format!(
                "role pointsman of blue may not close a database (x, y, z and 1 more): {}",
                CLOSE_DATABASE.given_up
            )
        );
        assert_eq!(judgement.remedy, "GRANT a TO b");
        assert_eq!(judgement.evidence.len(), 4);
    }

    #[test]
    fn only_lesser_rights_make_a_warning() {
        let others = Missing::new(CLOSE_OTHERS, "", "x");
        let close = Missing::new(CLOSE_DATABASE, "", "x");
        let grade = |missing: &[Missing]| judge("blue", "p", missing, "").grade;
        assert_eq!(grade(&[]), Grade::Pass);
        assert_eq!(grade(std::slice::from_ref(&others)), Grade::Warn);
        assert_eq!(grade(&[others, close]), Grade::Fail);
    }

    #[test]
    fn a_grant_says_from_16_on_that_it_is_inherited() {
        assert_eq!(
            grant_role("a\"b", "c", 150_000),
            "GRANT \"a\"\"b\" TO \"c\""
        );
        assert!(grant_role("a", "c", 160_000).ends_with(" WITH INHERIT TRUE, SET TRUE"));
    }
}
