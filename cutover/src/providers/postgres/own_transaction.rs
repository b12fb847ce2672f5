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

/// The same where table `pointsman.transactions` is not at hand: in other databases. Only the
/// watch of a bake heeds it, since anybody may write such a message.
pub(super) const MARK: &str = "SELECT pg_logical_emit_message(true, 'pointsman.own', '')";
