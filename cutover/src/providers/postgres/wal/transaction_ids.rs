use std::sync::Arc;

use super::{
    super::control_sessions::ControlSessions,
    account::{Account, question},
    look::{failed, take},
};
use crate::ports::{Look, ProofMethod, ProviderError, WriteProof};

/// Accounts for every transaction id that was given out between two looks.
#[derive(Debug)]
pub(super) struct ByTransactionIds {
    pub(super) control: Arc<ControlSessions>,
}

impl ByTransactionIds {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }

    /// Every transaction that writes takes an id, each subtransaction that writes another one.
    /// So a transaction that wrote since `since` took an id after it, or had not ended at it. COMMIT
    /// PREPARED takes no id, but a prepared transaction has not ended.
    pub(super) async fn prove(&self, since: &Look) -> Result<WriteProof, ProviderError> {
        let what = "prove by transaction ids that nobody wrote";
        let message = ("pointsman.proof", "");
        let question = Some(question(since));
        let (through, answer) = take(&self.control, what, message, question).await?;
        if through.xid <= since.xid {
            let went_back = format!(
                "transaction {} follows on the marker's {}: this server is not the one that the \
                 marker was written on, or was restored since",
                through.xid, since.xid
            );
            return Err(failed(&self.control.server.name, what, went_back));
        }
        let account = answer.as_deref().map(serde_json::from_str::<Account>);
        let account = match account {
            Some(Ok(account)) => account,
            Some(Err(error)) => {
                return Err(failed(&self.control.server.name, what, error.to_string()));
            }
            None => {
                return Err(failed(
                    &self.control.server.name,
                    what,
                    "the server returned no account",
                ));
            }
        };
        Ok(WriteProof {
            method: ProofMethod::TransactionIds,
            through,
            finding: account.finding(),
        })
    }
}
