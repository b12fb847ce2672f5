//! Whether the target answers.

use super::{Failure, Run};

/// Asks the target. A session that ended alone says nothing of its server, so a new one asks again.
///
/// # Errors
/// It did not answer, or answered with an error: the failure's problem says which.
pub(crate) async fn target_answers(run: &mut Run<'_>) -> Result<(), Failure> {
    if ask(run).await.is_ok() {
        return Ok(());
    }
    run.sessions.forget_target();
    ask(run).await
}

async fn ask(run: &mut Run<'_>) -> Result<(), Failure> {
    run.target().await?.observe().await?;
    Ok(())
}
