//! What every implementation of the port `ManagedPromotion` does: that of the lab's API, on the far
//! side of a socket, and the fakes.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use pointsman_catalog::ServerName;
use pointsman_cutover::{
    Lsn, Settings,
    ports::{
        DatabaseProvider as _, FenceToken, Look, ManagedPromotion, Marker, PromotionProgress,
        ProviderError, Recorder, RequestAnswer,
    },
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::{
    gate::Gate,
    postgres::{self, PromotionEndpoint},
};
use pointsman_tests::{cloud, reached_by_sql::Difference as _};

use super::{
    api::{PromotionApi, Reception},
    servers::{SOON, eventually, is_standby},
    support::TestEnvironment,
};

/// From no request to the end. `finish` lets a promotion that is under way come through.
async fn promotes_once_and_says_how_far_it_is(
    port: &dyn ManagedPromotion,
    finish: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let outlook = port.outlook();
    ensure!(!outlook.look_every.is_zero() && outlook.look_every < outlook.patience);
    ensure!(
        outlook
            .typical
            .is_none_or(|usual| usual <= outlook.patience)
    );
    // A look asks for nothing.
    for _ in 0..2 {
        ensure!(port.progress().await? == PromotionProgress::NotReceived);
    }
    ensure!(port.request(token()?).await? == RequestAnswer::Accepted);
    is_on_its_way(port).await?;
    refuses(port).await?;
    is_on_its_way(port).await?;
    finish().await?;
    eventually("it is through", async || {
        is_on_its_way(port).await?;
        Ok(port.progress().await? == PromotionProgress::Promoted)
    })
    .await?;
    refuses(port).await?;
    ensure!(port.progress().await? == PromotionProgress::Promoted);
    ensure!(port.outlook() == outlook);
    Ok(())
}

/// It was received, and has not come to nothing.
async fn is_on_its_way(port: &dyn ManagedPromotion) -> Result<()> {
    match port.progress().await? {
        PromotionProgress::UnderWay { said } => ensure!(!said.is_empty()),
        PromotionProgress::Promoted | PromotionProgress::Unknown => {}
        lost @ (PromotionProgress::NotReceived
        | PromotionProgress::Failed { .. }
        | PromotionProgress::Gone { .. }) => bail!("{lost:?}"),
    }
    Ok(())
}

/// A second request is refused in words.
async fn refuses(port: &dyn ManagedPromotion) -> Result<()> {
    match port.request(token()?).await? {
        RequestAnswer::Refused { reason } => ensure!(!reason.is_empty()),
        RequestAnswer::Accepted => bail!("a second request was accepted"),
    }
    Ok(())
}

/// Without an answer nobody knows whether the request arrived, and the server that is to be
/// promoted is named.
async fn says_that_it_does_not_know(port: &dyn ManagedPromotion) -> Result<()> {
    match port.request(token()?).await {
        Err(ProviderError::Unreachable { server, reason }) => {
            ensure!(server.as_str() == "green" && !reason.is_empty(), "{server}");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

/// Of a fence of `blue`.
fn token() -> Result<FenceToken> {
    let look = Look {
        lsn: Lsn(0x300),
        xid: 7,
        open: Vec::new(),
        own: Vec::new(),
    };
    Ok(FenceToken {
        server: ServerName::new("blue")?,
        system_identifier: "1".to_owned(),
        timeline: 1,
        marker: Marker::from(look),
        epoch: 1,
    })
}

/// The lab's API, and the way to it.
async fn lab_api(
    env: &TestEnvironment,
) -> Result<(
    Arc<postgres::PromotionApi>,
    PromotionEndpoint,
    Gate,
    Arc<dyn ManagedPromotion>,
)> {
    let hours = Duration::from_secs(7200);
    let api = Arc::new(postgres::PromotionApi::new(&env.pair.target, hours));
    let endpoint = PromotionEndpoint::start(Arc::clone(&api)).await?;
    let gate = Gate::start(endpoint.address()).await?;
    let port = cloud::promotion_of(ServerName::new("green")?, gate.address());
    Ok((api, endpoint, gate, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_labs_api_promotes_once_and_restarts_the_server() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let (api, _endpoint, _gate, port) = lab_api(&env).await?;
    let session = env.pair.target.client("postgres").await?;
    let finish = async || {
        ensure!(is_standby(&env.pair.target).await?, "before its time");
        api.hurry();
        Ok(())
    };
    promotes_once_and_says_how_far_it_is(&*port, finish).await?;
    ensure!(!is_standby(&env.pair.target).await?);
    ensure!(session.query("SELECT 1", &[]).await.is_err(), "it lives on");
    ensure!(api.requests() == 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_the_labs_api_without_an_answer_is_not_known() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let (api, _endpoint, gate, port) = lab_api(&env).await?;
    gate.sever();
    says_that_it_does_not_know(&*port).await?;
    let asked = port.progress().await;
    ensure!(
        matches!(asked, Err(ProviderError::Unreachable { .. })),
        "an error is no answer: {asked:?}"
    );
    gate.restore();
    ensure!(port.progress().await? == PromotionProgress::NotReceived);

    let answer = gate.hold_answer_to("promote");
    let asking = says_that_it_does_not_know(&*port);
    let (known, caught) = tokio::join!(asking, async {
        answer.within(SOON).await?;
        eventually("it arrives", async || Ok(api.requests() == 1)).await?;
        gate.cut();
        anyhow::Ok(())
    });
    caught.context("the request never arrives")?;
    known?;
    gate.restore();
    is_on_its_way(&*port).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_api_behaves_like_the_labs() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let api = PromotionApi::default();
    let finish = async || api.promote(&env.pair.target).await;
    promotes_once_and_says_how_far_it_is(&api, finish).await?;

    let deaf = PromotionApi::default();
    deaf.receive(Reception::RequestLost);
    says_that_it_does_not_know(&deaf).await?;
    ensure!(deaf.progress().await? == PromotionProgress::NotReceived);
    deaf.receive(Reception::AnswerLost);
    says_that_it_does_not_know(&deaf).await?;
    is_on_its_way(&deaf).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_on_paper_behaves_like_the_labs() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.api.switch_on();
    let green = env.catalog().server(&ServerName::new("green")?).await?;
    let sql = PostgresProvider::new(SecretSources::unrestricted());
    let recorder = Recorder::default();
    let paper = env.api.recording(sql.recording(recorder.clone()), recorder);
    let port = paper.managed_promotion(&green).context("it has none")?;
    promotes_once_and_says_how_far_it_is(&*port, async || Ok(())).await?;
    ensure!(is_standby(&env.pair.target).await?, "a dry run promotes");
    Ok(())
}
