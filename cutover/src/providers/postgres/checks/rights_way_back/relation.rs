use serde::Deserialize;

use super::super::{
    super::{
        grants::{ACT_FOR_OWNERS, CARRY_SEQUENCES, PASS_ROW_SECURITY, PUBLISH_TABLES},
        statements::identifier,
    },
    control_role::{ControlRole, WITHOUT_SUPERUSER},
    missing::{Missing, grant_role},
};

/// A table or sequence whose changes the stream or a rollback carries, and for which a right is
/// missing.
#[derive(Debug, Deserialize)]
pub(super) struct Relation {
    name: String,
    sequence: bool,
    owner: String,
    owner_is_superuser: bool,
    inherited: bool,
    may_become: bool,
    /// Its row-level security holds for the owner too, as whom changes are applied.
    forced: bool,
}

impl Relation {
    /// What `role` lacks on it.
    pub(super) fn lacks(&self, role: &ControlRole) -> Vec<Missing> {
        let grant = if self.owner_is_superuser {
            let kind = if self.sequence { "SEQUENCE" } else { "TABLE" };
            format!(
                "ALTER {kind} {} OWNER TO {}",
                self.name,
                identifier(&role.name)
            )
        } else {
            grant_role(&self.owner, &role.name, role.version)
        };
        let object = format!("{}, owner {}", self.name, self.owner);
        let lacks = |right| Missing::new(right, object.clone(), grant.clone());
        if self.sequence {
            return vec![lacks(CARRY_SEQUENCES)];
        }
        let mut missing = Vec::new();
        if !self.inherited {
            missing.push(lacks(PUBLISH_TABLES));
        }
        if !self.may_become && role.version >= WITHOUT_SUPERUSER {
            missing.push(lacks(ACT_FOR_OWNERS));
        }
        if self.forced && role.version >= WITHOUT_SUPERUSER {
            let grant = format!("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", self.name);
            missing.push(Missing::new(PASS_ROW_SECURITY, object.clone(), grant));
        }
        missing
    }
}

/// Every such relation of a database. Before 16 each member of a role may become it.
pub(super) const UNCARRIED: &str = "
SELECT * FROM (
  SELECT c.oid::regclass::text AS name, c.relkind = 'S' AS sequence, o.rolname::text AS owner,
         o.rolsuper AS owner_is_superuser, pg_has_role(o.oid, 'USAGE') AS inherited,
         pg_has_role(o.oid, CASE WHEN current_setting('server_version_num')::int >= 160000
           THEN 'SET' ELSE 'MEMBER' END) AS may_become,
         c.relrowsecurity AND c.relforcerowsecurity AND NOT (o.rolsuper OR o.rolbypassrls) AS forced,
         c.relkind = 'S' AND has_sequence_privilege(c.oid, 'UPDATE') AND has_sequence_privilege(c.oid, 'SELECT') AS may_set
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
  WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'p'
    AND n.nspname !~ '^(pg_|information_schema$|pointsman$)') AS q
WHERE CASE WHEN sequence THEN NOT may_set ELSE NOT (inherited AND may_become) OR forced END
ORDER BY sequence, name";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::postgres::checks::{control_role::role, place::rows};

    fn lacks(change: serde_json::Value, version: i64) -> Vec<(String, String)> {
        let mut row = json!({
            "name": "public.t", "sequence": false, "owner": "app", "owner_is_superuser": false,
            "inherited": false, "may_become": false, "forced": false
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        let relations: Vec<Relation> = rows(json!([row]));
        let missing = relations[0].lacks(&role(&json!({ "version": version })));
        let values = missing.iter().map(|one| serde_json::to_value(one).unwrap());
        values
            .map(|value| {
                let text = |key: &str| value[key].as_str().unwrap().to_owned();
                (text("may_not"), text("grant"))
            })
            .collect()
    }

    #[test]
    fn a_table_is_published_by_its_owner_and_applied_as_it() {
        let grant = "GRANT \"app\" TO \"pointsman\" WITH INHERIT TRUE, SET TRUE".to_owned();
        assert_eq!(
            lacks(json!({}), 160_000),
            [
                (PUBLISH_TABLES.action.to_owned(), grant.clone()),
                (ACT_FOR_OWNERS.action.to_owned(), grant.clone())
            ]
        );
        assert_eq!(
            lacks(json!({"inherited": true}), 170_000),
            [(ACT_FOR_OWNERS.action.to_owned(), grant)]
        );
    }

    #[test]
    fn a_table_that_forces_row_level_security_on_its_owner_is_not_applied_to_from_16_on() {
        let own = json!({"inherited": true, "may_become": true, "forced": true});
        assert_eq!(lacks(own.clone(), 150_000), []);
        let [(action, grant)] = &lacks(own, 160_000)[..] else {
            panic!("one is missing");
        };
        assert_eq!(action, PASS_ROW_SECURITY.action);
        assert_eq!(grant, "ALTER TABLE public.t NO FORCE ROW LEVEL SECURITY");
    }

    #[test]
    fn nobody_is_told_to_become_a_superuser() {
        let [(_, table), _] = &lacks(json!({"owner_is_superuser": true}), 160_000)[..] else {
            panic!("two rights are missing");
        };
        assert_eq!(table, "ALTER TABLE public.t OWNER TO \"pointsman\"");
        let sequence = lacks(
            json!({"owner_is_superuser": true, "sequence": true}),
            160_000,
        );
        assert_eq!(
            sequence,
            [(
                CARRY_SEQUENCES.action.to_owned(),
                "ALTER SEQUENCE public.t OWNER TO \"pointsman\"".to_owned()
            )]
        );
    }
}
