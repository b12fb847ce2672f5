//! How a transaction says that it is the engine's own.

use super::text::literal;

/// Makes the transaction that it stands in known as the engine's own, on this server and on
/// those that replay it. Proofs that nobody wrote do not count it.
pub(super) fn own_transaction(what: &str) -> String {
    format!(
        "INSERT INTO pointsman.transactions (what) VALUES ({})",
        literal(what)
    )
}

/// The same in a database that moves, by a row of its own table and by a message. Only the watch of a
/// bake heeds them: by the row where it looks at ids, by the message where it reads WAL.
pub(super) fn own_transaction_in_database(what: &str) -> [String; 2] {
    // Anybody may write such a message.
    let message = "SELECT pg_logical_emit_message(true, 'pointsman.own', '')";
    [message.to_owned(), own_transaction(what)]
}
