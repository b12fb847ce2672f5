use serde::{Deserialize, Serialize};

use super::super::{super::statements::literal, place::Place};
use crate::checks::Judgement;

/// Something that the probe role may do beside writing the probe table.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Excess {
    /// As a phrase, such as `INSERT on table public.orders`.
    may: String,
    /// The statement that takes it away.
    take: String,
    /// It is granted to PUBLIC, so every role may.
    everybodys: bool,
    /// How many there are; a server gives the first of them.
    #[serde(skip_serializing)]
    total: usize,
}

impl Excess {
    /// What `role` may do wherever it is on the server.
    pub(super) async fn on_server(place: Place<'_>, role: &str) -> Result<Vec<Self>, String> {
        place
            .ask(&ON_SERVER.replace(":probe", &literal(role)))
            .await
    }

    /// What `role` may do in the database at `place`.
    pub(super) async fn in_database(place: Place<'_>, role: &str) -> Result<Vec<Self>, String> {
        let select = IN_DATABASE.replace(":probe", &literal(role));
        place.ask(&select).await
    }
}

/// What is said about the `found` of `role`; a pass that says `otherwise` if that is nothing. What
/// every role may do is a warning: it is not for the probe role alone to lose.
pub(super) fn judge(
    server: &str,
    role: &str,
    found: &[Excess],
    otherwise: impl Into<String>,
) -> Judgement {
    let Some(first) = found.first() else {
        return Judgement::pass(otherwise);
    };
    let more = match first.total.saturating_sub(found.len()) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let listed = |everybodys| {
        let of_kind = found.iter().filter(|one| one.everybodys == everybodys);
        let may: Vec<_> = of_kind.map(|one| one.may.as_str()).collect();
        may.join("; ")
    };
    let (own, everybodys) = (listed(false), listed(true));
    let mut clauses = Vec::new();
    if !own.is_empty() {
        clauses.push(format!(
            "the probe role {role} of {server} may do more than write the probe table: {own}"
        ));
    }
    if !everybodys.is_empty() {
        clauses.push(format!(
            "every role of {server}, the probe role {role} with them, may do by grants to PUBLIC: \
             {everybodys}"
        ));
    }
    let message = format!("{}{more}", clauses.join("; "));
    let statements: Vec<_> = found.iter().map(|one| one.take.as_str()).collect();
    let take = format!("{}{more}", statements.join("; "));
    let judgement = if own.is_empty() {
        Judgement::warn(message, take)
    } else {
        let remedy = format!(
            "let `probe` name a role that `pointsman database grants` makes, or take this from it: {take}"
        );
        Judgement::fail(message, remedy)
    };
    judgement.with(found)
}

/// From 16 on a membership is taken back in the name of whoever granted it.
const ON_SERVER: &str = "
WITH probe AS (SELECT *, quote_ident(rolname) AS name FROM pg_roles WHERE rolname = :probe),
found AS (
  SELECT format('it has %s', attribute) AS may, format('ALTER ROLE %s NO%s', name, attribute) AS take, false AS everybodys
  FROM probe, LATERAL (VALUES ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
    ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) AS has (attribute, held) WHERE held
  UNION ALL
  SELECT DISTINCT format('it is a member of %I', g.rolname), format('REVOKE %I FROM %s%s', g.rolname, p.name,
    CASE WHEN current_setting('server_version_num')::int >= 160000
      THEN format(' GRANTED BY %s', m.grantor::regrole) END), false
  FROM probe p JOIN pg_auth_members m ON m.member = p.oid JOIN pg_roles g ON g.oid = m.roleid
  UNION ALL
  SELECT format('it owns database %I', datname), format('ALTER DATABASE %I OWNER TO %I', datname, current_user), false
  FROM probe p JOIN pg_database d ON d.datdba = p.oid
  UNION ALL
  SELECT DISTINCT format('CREATE on database %I', datname), format('REVOKE CREATE ON DATABASE %I FROM %s', datname,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE p.name END), grantee = 0
  FROM probe p, pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba)))
  WHERE privilege_type = 'CREATE' AND grantee IN (0, p.oid) AND datdba <> p.oid)
SELECT *, count(*) OVER () AS total FROM found ORDER BY everybodys, may LIMIT 20";

/// Without USAGE on a schema nothing in it can be reached. What every role may do to the catalogues
/// is PostgreSQL's own.
const IN_DATABASE: &str = "
WITH probe AS (SELECT oid, quote_ident(rolname) AS name FROM pg_roles WHERE rolname = :probe),
object (kind, name, owner, schema, acl, of_column) AS (
  SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, relowner, relnamespace,
         coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)), ''
  FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'f', 'S') AND relpersistence <> 't'
  UNION ALL
  SELECT 'TABLE', c.oid::regclass::text, relowner, relnamespace, attacl, format(' (%I)', attname)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE attacl IS NOT NULL AND NOT attisdropped
  UNION ALL
  SELECT 'SCHEMA', quote_ident(nspname), nspowner, oid, coalesce(nspacl, acldefault('n', nspowner)), ''
  FROM pg_namespace),
granted AS (
  SELECT kind, o.name, grantee = 0 AS everybodys, string_agg(DISTINCT privilege_type || of_column, ', ') AS privileges
  FROM object o CROSS JOIN probe p CROSS JOIN LATERAL aclexplode(acl)
  WHERE owner <> p.oid AND grantee IN (0, p.oid)
    AND (kind, privilege_type) IN (('TABLE', 'INSERT'), ('TABLE', 'UPDATE'), ('TABLE', 'DELETE'), ('TABLE', 'TRUNCATE'),
      ('SEQUENCE', 'USAGE'), ('SEQUENCE', 'UPDATE'), ('SCHEMA', 'CREATE'))
    AND NOT (o.name = 'pointsman.probe' AND privilege_type IN ('INSERT', 'UPDATE'))
    AND NOT (grantee = 0 AND schema IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace))
    AND (kind = 'SCHEMA' OR has_schema_privilege(p.oid, schema, 'USAGE'))
  GROUP BY 1, 2, 3),
found AS (
  SELECT format('%s on %s %s', privileges, lower(kind), g.name) AS may, format('REVOKE %s ON %s %s FROM %s', privileges,
    kind, g.name, CASE WHEN everybodys THEN 'PUBLIC' ELSE p.name END) AS take, everybodys
  FROM granted g CROSS JOIN probe p
  UNION ALL
  SELECT format('it owns %s %s', lower(kind), o.name), format('ALTER %s %s OWNER TO %I', kind, o.name, current_user), false
  FROM object o JOIN probe p ON p.oid = o.owner WHERE of_column = '')
SELECT *, count(*) OVER () AS total FROM found ORDER BY everybodys, may LIMIT 20";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn excess(may: &str, everybodys: bool, total: usize) -> Excess {
        Excess {
            may: may.to_owned(),
            take: format!("take {may}"),
            everybodys,
            total,
        }
    }

    #[test]
    fn what_every_role_may_is_a_warning_and_what_the_role_alone_may_fails() {
        let judged = |found: &[Excess]| judge("blue", "p", found, "nothing else");
        assert_eq!(judged(&[]).grade, Grade::Pass);
        let public = judged(&[excess("CREATE on schema public", true, 1)]);
        assert_eq!(public.grade, Grade::Warn);
        assert!(public.message.contains("by grants to PUBLIC"), "{public:?}");
        let own = judged(&[excess("it has CREATEDB", false, 1)]);
        assert_eq!(own.grade, Grade::Fail);
        assert!(own.remedy.ends_with(": take it has CREATEDB"), "{own:?}");
    }

    #[test]
    fn those_that_are_not_listed_are_counted() {
        let found = [excess("a", false, 25), excess("b", true, 25)];
        let judgement = judge("blue", "p", &found, "");
        assert!(
            judgement.message.ends_with("b; and 23 more"),
            "{judgement:?}"
        );
        let take = ": take a; take b; and 23 more";
        assert!(judgement.remedy.ends_with(take), "{judgement:?}");
    }
}
