//! Asking the name server.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use pointsman_catalog::Endpoint;
use tokio::{net::lookup_host, time::timeout};

/// What one endpoint resolves to now, sorted, or why it does not.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) endpoint: Endpoint,
    pub(super) found: Result<Vec<SocketAddr>, String>,
}

/// Looks all of them up at once.
pub(super) async fn look_up(endpoints: BTreeSet<Endpoint>) -> Vec<Answer> {
    join_all(endpoints.into_iter().map(answer)).await
}

async fn answer(endpoint: Endpoint) -> Answer {
    let found = resolve(&endpoint).await;
    Answer { endpoint, found }
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = (endpoint.host(), endpoint.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match timeout(LOOKUP, lookup_host((host, port))).await {
        Err(_elapsed) => Err(format!("the name server did not answer within {LOOKUP:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => {
            let addresses: BTreeSet<_> = found.collect();
            if addresses.is_empty() {
                Err("the name has no address".to_owned())
            } else {
                Ok(addresses.into_iter().collect())
            }
        }
    }
}

/// Name servers retry for longer; the last addresses serve meanwhile.
const LOOKUP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ip_address_needs_no_name_server() {
        let answers = look_up(["[::1]:5432".parse().unwrap()].into()).await;
        assert_eq!(
            answers[0].found.as_deref(),
            Ok(["[::1]:5432".parse().unwrap()].as_slice())
        );
    }
}
