//! The API for programs other than the lab's own: one question a connection, one line each way.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{PromotionApi, PromotionStage};
use crate::{ports::Port, postgres::session::CONNECT_DEADLINE};

/// Longer is no question and no answer.
const LINE_BYTES: u64 = 4096;

/// Where a [`PromotionApi`] answers; closed on drop.
#[derive(Debug)]
pub struct PromotionEndpoint {
    port: Port,
    _serving: JoinSet<()>,
}

impl PromotionEndpoint {
    /// Serves `api` on `127.0.0.1`.
    pub async fn start(api: Arc<PromotionApi>) -> Result<Self> {
        let (port, listener) = Port::listen().await?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(Err(error)) = timeout(CONNECT_DEADLINE, answer(&api, stream)).await {
                    tracing::debug!(%error, "a question to the promotion API was cut off");
                }
            }
        });
        Ok(Self {
            port,
            _serving: serving,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.on_loopback()
    }
}

async fn answer(api: &PromotionApi, mut stream: TcpStream) -> Result<()> {
    let answer = match line(&mut stream).await?.as_str() {
        PROMOTE => match api.request() {
            Ok(()) => "accepted".to_owned(),
            Err(reason) => format!("refused: {reason}"),
        },
        STAGE => match api.stage() {
            PromotionStage::NotAsked => "not asked".to_owned(),
            PromotionStage::UnderWay => "under way".to_owned(),
            PromotionStage::Available => "available".to_owned(),
            PromotionStage::Failed(reason) => format!("failed: {reason}"),
        },
        other => format!("no such question: {other}"),
    };
    let answer = answer.replace('\n', " ");
    stream.write_all(format!("{answer}\n").as_bytes()).await?;
    Ok(())
}

const PROMOTE: &str = "promote";
const STAGE: &str = "stage";

/// Asks the API at `address` for the promotion.
///
/// # Errors
/// No answer came, so it may have been asked; or the API refused, which is an inner error.
pub async fn request_promotion(address: SocketAddr) -> Result<Result<(), String>> {
    let answer = ask(address, PROMOTE).await?;
    match (answer.as_str(), answer.strip_prefix("refused: ")) {
        ("accepted", _) => Ok(Ok(())),
        (_, Some(reason)) => Ok(Err(reason.to_owned())),
        _ => bail!("the promotion API said {answer:?}"),
    }
}

/// Asks the API at `address` how far the promotion is.
pub async fn promotion_stage(address: SocketAddr) -> Result<PromotionStage> {
    let answer = ask(address, STAGE).await?;
    match (answer.as_str(), answer.strip_prefix("failed: ")) {
        ("not asked", _) => Ok(PromotionStage::NotAsked),
        ("under way", _) => Ok(PromotionStage::UnderWay),
        ("available", _) => Ok(PromotionStage::Available),
        (_, Some(reason)) => Ok(PromotionStage::Failed(reason.to_owned())),
        _ => bail!("the promotion API said {answer:?}"),
    }
}

async fn ask(address: SocketAddr, question: &str) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        line(&mut stream).await
    };
    timeout(CONNECT_DEADLINE, asking)
        .await
        .with_context(|| format!("no answer within {CONNECT_DEADLINE:?}"))?
}

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut text = String::new();
    let mut limited = BufReader::new(stream.take(LINE_BYTES));
    limited.read_line(&mut text).await?;
    let text = text.strip_suffix('\n').context("a line was cut off")?;
    Ok(text.to_owned())
}
