//! Which texts are SQL.

/// Whether a text begins with a statement, or holds what only SQL has. White space of any kind
/// parts its words. Capitals make a statement of its first word alone; prose begins otherwise, so
/// small letters need the second word that such a statement has.
pub(crate) fn is_sql(text: &str) -> bool {
    let words: Vec<_> = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let Some(first) = words.first() else {
        return false;
    };
    // `{what} SELECT …`: a placeholder or a bracket may come before it.
    let begins = |statement: &str| *first == statement && text.trim_start().starts_with(statement);
    // A heading of one word is none.
    let statements = if words.len() == 1 { ALONE } else { STATEMENTS };
    statements.iter().any(|statement| begins(statement))
        || (words.contains(&"SELECT") && words.contains(&"FROM"))
        || text.contains("pg_catalog.")
        || in_small_letters(&words)
}

fn in_small_letters(words: &[&str]) -> bool {
    let words: Vec<_> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["select", rest @ ..] => rest.contains(&"from") || rest.iter().any(|word| is_call(word)),
        ["with", _, "as", rest @ ..] => rest.contains(&"select"),
        ["update", _, "set", ..]
        | ["update", _, _, "set", ..]
        | ["insert", "into", ..]
        | ["delete", "from", ..]
        | ["lock", "table", ..]
        | ["merge", "into", ..]
        | ["do", "language", ..] => true,
        [
            "alter" | "create" | "drop" | "comment" | "truncate" | "reindex",
            kind,
            ..,
        ] => OBJECTS.contains(kind),
        ["vacuum" | "checkpoint"] => true,
        ["explain", "select" | "analyze", ..] => true,
        _ => false,
    }
}

/// A function or a number, which prose does not select.
fn is_call(word: &str) -> bool {
    word.starts_with("pg_") || word.chars().all(|letter| letter.is_ascii_digit())
}

/// The first words of PostgreSQL's statements.
/// <https://www.postgresql.org/docs/current/sql-commands.html>
const STATEMENTS: &[&str] = &[
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DISCARD",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "PREPARE",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SECURITY",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WITH",
];

/// Those that need no more words.
const ALONE: &[&str] = &[
    "ABORT",
    "ANALYZE",
    "BEGIN",
    "CHECKPOINT",
    "CLUSTER",
    "COMMIT",
    "ROLLBACK",
    "VACUUM",
];

/// What `ALTER`, `CREATE` and `DROP` are done to, here.
const OBJECTS: &[&str] = &[
    "database",
    "extension",
    "function",
    "index",
    "or",
    "publication",
    "role",
    "schema",
    "sequence",
    "server",
    "subscription",
    "system",
    "table",
    "temp",
    "trigger",
    "type",
    "unique",
    "unlogged",
    "user",
    "view",
];
