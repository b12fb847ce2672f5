//! The access list of a database (`datacl`): shut to everybody but one role, and put back.
//! <https://www.postgresql.org/docs/current/ddl-priv.html>

use std::collections::{BTreeMap, BTreeSet};

use super::{
    session::Session,
    text::{identifier, literal},
};
use crate::ports::{AclItem, ProviderError};

/// A database's access list as it is now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Acl {
    pub(super) owner: String,
    /// In the server's order. The defaults where the list was never changed.
    pub(super) items: Vec<AclItem>,
}

/// The access lists of those of `datnames` that there are.
pub(super) async fn read(
    session: &Session,
    datnames: &[&str],
) -> Result<BTreeMap<String, Acl>, ProviderError> {
    let rows = session
        .rows("read access lists", ACLS, &[&datnames])
        .await?;
    let mut found: BTreeMap<String, Acl> = BTreeMap::new();
    for row in rows {
        let acl = found.entry(row.get("datname")).or_default();
        acl.owner = row.get("owner");
        let grantor: Option<String> = row.get("grantor");
        if let Some(grantor) = grantor {
            acl.items.push(AclItem {
                grantee: row.get("grantee"),
                grantor,
                privileges: row.get("privileges"),
            });
        }
    }
    Ok(found)
}

/// Which of the roles that `lists` name there still are: a list is put back without the others.
pub(super) async fn roles_left(
    session: &Session,
    lists: impl Iterator<Item = &[AclItem]>,
) -> Result<BTreeSet<String>, ProviderError> {
    let named: BTreeSet<&str> = lists
        .flatten()
        .flat_map(|item| [item.grantee.as_deref(), Some(item.grantor.as_str())])
        .flatten()
        .collect();
    let named: Vec<&str> = named.into_iter().collect();
    let sql = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)";
    let rows = session.rows("look for roles", sql, &[&named]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

impl Acl {
    /// Takes CONNECT on `datname` from everybody but `role`. A REVOKE that only warns is not
    /// taken for done: the last statement fails unless nobody else is left.
    pub(super) fn shut(&self, datname: &str, role: &str) -> Vec<String> {
        let database = identifier(datname);
        let mut statements = Vec::new();
        let may_connect = |item: &&AclItem| item.privileges.contains('c');
        let by_owner = || self.items.iter().filter(|item| item.grantor == self.owner);
        let own = |item: &&AclItem| item.grantee.as_deref() == Some(role);
        if !by_owner().filter(own).any(|item| may_connect(&item)) {
            statements.push(format!(
                "GRANT CONNECT ON DATABASE {database} TO {}",
                identifier(role)
            ));
        }
        let others: BTreeSet<String> = by_owner()
            .filter(may_connect)
            .filter(|item| !own(item))
            .map(grantee)
            .collect();
        // What grantees have passed on goes with what they were given.
        statements.extend(
            others
                .iter()
                .map(|other| format!("REVOKE CONNECT ON DATABASE {database} FROM {other} CASCADE")),
        );
        let passed_on = self.items.iter().any(|item| item.grantor == role);
        if role != self.owner && passed_on {
            statements.push(format!(
                "REVOKE GRANT OPTION FOR CONNECT ON DATABASE {database} FROM {} CASCADE",
                identifier(role)
            ));
        }
        statements.push(raise_unless_shut(datname, role));
        statements
    }

    /// Makes the list of `datname` read like `wanted`, item by item and in its order. The last
    /// statement fails unless it does.
    pub(super) fn restore(&self, datname: &str, wanted: &[AclItem]) -> Vec<String> {
        if self.items == wanted {
            return Vec::new();
        }
        let all = self.items.iter().chain(wanted);
        // An item that was passed on depends on others, wherever they stand.
        let kept = if all.clone().all(|item| item.grantor == self.owner) {
            let pairs = self.items.iter().zip(wanted);
            pairs.take_while(|(found, wanted)| found == wanted).count()
        } else {
            0
        };
        let database = identifier(datname);
        let current = self.items.iter().skip(kept);
        let mut statements: Vec<String> = current
            .filter(|item| item.grantor == self.owner)
            .map(|item| {
                format!(
                    "REVOKE ALL ON DATABASE {database} FROM {} CASCADE",
                    grantee(item)
                )
            })
            .collect();
        for item in wanted.iter().skip(kept) {
            statements.extend(self.grant(&database, item));
        }
        statements.push(raise_unless_restored(datname, wanted));
        statements
    }

    /// A new item stands at the end of the list, and what its grantee has from the same grantor
    /// already is added to that.
    fn grant(&self, database: &str, item: &AclItem) -> Vec<String> {
        let (with_option, plain) = privileges(item);
        let to = grantee(item);
        let grant = |names: &[&str], option: &str| {
            let names = names.join(", ");
            format!("GRANT {names} ON DATABASE {database} TO {to}{option}")
        };
        let mut statements = Vec::new();
        if !plain.is_empty() {
            statements.push(grant(&plain, ""));
        }
        if !with_option.is_empty() {
            statements.push(grant(&with_option, " WITH GRANT OPTION"));
        }
        if item.grantor != self.owner {
            let become_grantor = format!("SET LOCAL ROLE {}", identifier(&item.grantor));
            statements.insert(0, become_grantor);
            statements.push("RESET ROLE".to_owned());
        }
        statements
    }
}

/// `wanted` without the items of roles that are gone.
pub(super) fn of_roles(wanted: &[AclItem], there: &BTreeSet<String>) -> Vec<AclItem> {
    let exists = |role: &str| there.contains(role);
    let items = wanted
        .iter()
        .filter(|item| exists(&item.grantor) && item.grantee.as_deref().is_none_or(exists));
    items.cloned().collect()
}

/// The privileges with grant option, and those without.
fn privileges(item: &AclItem) -> (Vec<&'static str>, Vec<&'static str>) {
    let names = [('C', "CREATE"), ('T', "TEMPORARY"), ('c', "CONNECT")];
    let granted = names.into_iter().filter_map(|(letter, name)| {
        let (_, rest) = item.privileges.split_once(letter)?;
        Some((name, rest.starts_with('*')))
    });
    let (with_option, plain): (Vec<_>, Vec<_>) = granted.partition(|&(_, option)| option);
    let only_names = |of: Vec<(&'static str, bool)>| of.into_iter().map(|(name, _)| name).collect();
    (only_names(with_option), only_names(plain))
}

fn grantee(item: &AclItem) -> String {
    match &item.grantee {
        Some(role) => identifier(role),
        None => "PUBLIC".to_owned(),
    }
}

fn raise_unless_shut(datname: &str, role: &str) -> String {
    raise_if(
        &format!(
            "EXISTS (SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
             WHERE d.datname = {0} AND a.privilege_type = 'CONNECT' AND a.grantee <> {1}::regrole) \
             OR NOT has_database_privilege({2}, {0}, 'CONNECT')",
            literal(datname),
            literal(&identifier(role)),
            literal(role),
        ),
        &format!("CONNECT on database {datname} could not be taken from everybody but {role}"),
    )
}

fn raise_unless_restored(datname: &str, wanted: &[AclItem]) -> String {
    let items: Vec<_> = wanted.iter().map(|item| literal(&aclitem(item))).collect();
    raise_if(
        &format!(
            "(SELECT datacl FROM pg_database WHERE datname = {})::text IS DISTINCT FROM \
             (ARRAY[{}]::aclitem[])::text",
            literal(datname),
            items.join(", ")
        ),
        &format!("the access list of database {datname} did not become what it was"),
    )
}

fn raise_if(condition: &str, message: &str) -> String {
    let message = literal(&message.replace('%', "%%"));
    let body = format!("BEGIN IF {condition} THEN RAISE EXCEPTION {message}; END IF; END");
    format!("DO {}", literal(&body))
}

/// As PostgreSQL reads an item.
fn aclitem(item: &AclItem) -> String {
    let grantee = item.grantee.as_deref().map(identifier).unwrap_or_default();
    format!(
        "{grantee}={}/{}",
        item.privileges,
        identifier(&item.grantor)
    )
}

const ACLS: &str = "SELECT d.datname::text AS datname, pg_get_userbyid(d.datdba)::text AS owner, \
       CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee)::text END AS grantee, \
       pg_get_userbyid(x.grantor)::text AS grantor, \
       string_agg(CASE x.privilege_type WHEN 'CREATE' THEN 'C' WHEN 'TEMPORARY' THEN 'T' ELSE 'c' END \
           || CASE WHEN x.is_grantable THEN '*' ELSE '' END, '' \
         ORDER BY x.privilege_type = 'CONNECT', x.privilege_type) AS privileges \
     FROM pg_database d \
     LEFT JOIN LATERAL unnest(coalesce(d.datacl, acldefault('d', d.datdba))) \
       WITH ORDINALITY AS i (item, place) ON true \
     LEFT JOIN LATERAL aclexplode(CASE WHEN i.item IS NOT NULL THEN ARRAY[i.item] END) AS x ON true \
     WHERE d.datname = ANY ($1) \
     GROUP BY d.datname, d.datdba, i.place, x.grantee, x.grantor \
     ORDER BY d.datname, i.place";

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> AclItem {
        let (grantee, rest) = text.split_once('=').unwrap();
        let (privileges, grantor) = rest.split_once('/').unwrap();
        AclItem {
            grantee: (!grantee.is_empty()).then(|| grantee.to_owned()),
            grantor: grantor.to_owned(),
            privileges: privileges.to_owned(),
        }
    }

    fn acl(items: &[&str]) -> Acl {
        Acl {
            owner: "master".to_owned(),
            items: items.iter().map(|text| item(text)).collect(),
        }
    }

    fn without_check(mut statements: Vec<String>) -> Vec<String> {
        assert!(statements.pop().unwrap().starts_with("DO "));
        statements
    }

    #[test]
    fn everybody_but_the_control_role_loses_connect_and_keeps_the_rest() {
        let default = acl(&["=Tc/master", "master=CTc/master"]);
        assert_eq!(
            without_check(default.shut("postgres", "master")),
            ["REVOKE CONNECT ON DATABASE \"postgres\" FROM PUBLIC CASCADE"]
        );
    }

    #[test]
    fn a_control_role_that_lives_off_its_membership_gets_connect_itself() {
        let by_member = acl(&["=Tc/master", "master=CTc/master"]);
        assert_eq!(
            without_check(by_member.shut("orders", "driver")),
            [
                "GRANT CONNECT ON DATABASE \"orders\" TO \"driver\"",
                "REVOKE CONNECT ON DATABASE \"orders\" FROM \"master\" CASCADE",
                "REVOKE CONNECT ON DATABASE \"orders\" FROM PUBLIC CASCADE",
            ]
        );
        let passed_on = acl(&["driver=c*/master", "app=c/driver"]);
        assert_eq!(
            without_check(passed_on.shut("orders", "driver")),
            ["REVOKE GRANT OPTION FOR CONNECT ON DATABASE \"orders\" FROM \"driver\" CASCADE"]
        );
    }

    #[test]
    fn a_list_that_is_as_it_was_is_left_alone() {
        let list = acl(&["=Tc/master", "master=CTc/master"]);
        assert_eq!(list.restore("postgres", &list.items), [""; 0]);
    }

    #[test]
    fn items_behind_the_first_difference_are_made_again_in_their_order() {
        let was = acl(&["master=CTc/master", "app=c/master", "ops=C*c/master"]).items;
        let now = acl(&["master=CTc/master", "ops=C*/master"]);
        assert_eq!(
            without_check(now.restore("postgres", &was)),
            [
                "REVOKE ALL ON DATABASE \"postgres\" FROM \"ops\" CASCADE",
                "GRANT CONNECT ON DATABASE \"postgres\" TO \"app\"",
                "GRANT CONNECT ON DATABASE \"postgres\" TO \"ops\"",
                "GRANT CREATE ON DATABASE \"postgres\" TO \"ops\" WITH GRANT OPTION",
            ]
        );
    }

    #[test]
    fn what_a_grantee_passed_on_is_granted_by_that_grantee_again() {
        let was = acl(&["master=CTc/master", "ops=c*/master", "app=c/ops"]).items;
        let now = acl(&["master=CTc/master"]);
        assert_eq!(
            without_check(now.restore("postgres", &was)),
            [
                "REVOKE ALL ON DATABASE \"postgres\" FROM \"master\" CASCADE",
                "GRANT CREATE, TEMPORARY, CONNECT ON DATABASE \"postgres\" TO \"master\"",
                "GRANT CONNECT ON DATABASE \"postgres\" TO \"ops\" WITH GRANT OPTION",
                "SET LOCAL ROLE \"ops\"",
                "GRANT CONNECT ON DATABASE \"postgres\" TO \"app\"",
                "RESET ROLE",
            ]
        );
    }

    #[test]
    fn roles_that_are_gone_are_left_out() {
        let was = acl(&["=c/master", "gone=c/master", "app=c/gone"]).items;
        let there = BTreeSet::from(["master".to_owned(), "app".to_owned()]);
        assert_eq!(of_roles(&was, &there), acl(&["=c/master"]).items);
    }
}
