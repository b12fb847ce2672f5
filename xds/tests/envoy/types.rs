//! The types that a TCP proxy has no use for: routes, scopes, hosts on demand, filters, layers.

use std::net::Ipv4Addr;

use pointsman_lab::{
    http::{self, Answer},
    patience::until,
    ports::free_port,
};
use pointsman_xds::Resource;
use tokio::net::TcpStream;

use crate::{
    control_plane::ControlPlane,
    http_resources::{
        by_route, by_scope, extension, fetched_filter, front, layer, on_demand, route, scope,
        virtual_host,
    },
    process::{BOTH, Envoy, Transport},
    resources::runtime,
};

const HOST: &str = "shop.test";

#[tokio::test]
async fn a_route_is_followed() {
    for transport in BOTH {
        let port = free_port();
        follows(transport, port, &[], |word| {
            vec![front(port, by_route("shop"), None), route("shop", word)]
        })
        .await;
    }
}

#[tokio::test]
async fn a_scope_leads_to_another_route() {
    for transport in BOTH {
        let port = free_port();
        let (gold, iron) = ([("x-scope", "gold")], [("x-scope", "iron")]);
        let config = |word: &str| {
            vec![
                front(port, by_scope(), None),
                scope("gold", &format!("{word}-route")),
                scope("iron", "first-route"),
                route("first-route", "first"),
                route("second-route", "second"),
            ]
        };
        let _served = follows(transport, port, &gold, config).await;
        // Unchanged resources are still there.
        says(port, &iron, "first").await;
    }
}

#[tokio::test]
async fn a_host_is_followed() {
    let port = free_port();
    follows(Transport::Delta, port, &[], |word| {
        [on_demand(port), vec![virtual_host(HOST, word)]].concat()
    })
    .await;
}

#[tokio::test]
async fn a_missing_host_is_declared_absent_and_sent_when_it_exists() {
    let server = ControlPlane::start().await;
    let port = free_port();
    let other = virtual_host("other.test", "other");
    let before = [on_demand(port), vec![other, runtime("layer")]].concat();
    server.publish(before.clone());
    let envoy = Envoy::start(server.port, Transport::Delta).await;
    until("the refusal", async || {
        let answer = get(port, &[]).await?;
        answer.head.starts_with("HTTP/1.1 404").then_some(())
    })
    .await;
    let after = [before, vec![virtual_host(HOST, "at last")]].concat();
    server.flip(after).await;
    says(port, &[], "at last").await;
    assert_eq!(envoy.stats("update_rejected").await, 0);
}

#[tokio::test]
async fn a_filters_configuration_is_followed() {
    for transport in BOTH {
        let server = ControlPlane::start().await;
        let port = free_port();
        let config = |word: &str| {
            vec![
                front(port, by_route("shop"), Some(fetched_filter())),
                route("shop", "open"),
                extension(word),
                runtime("layer"),
            ]
        };
        let shows = async |word: &str| {
            until(word, async || {
                let answer = get(port, &[]).await?;
                let header = format!("x-word: {word}");
                (answer.body == "open" && answer.head.contains(&header)).then_some(())
            })
            .await;
        };
        server.publish(config("first"));
        let _envoy = Envoy::start(server.port, transport).await;
        shows("first").await;
        server.flip(config("second")).await;
        shows("second").await;
    }
}

#[tokio::test]
async fn a_runtime_layer_is_followed() {
    for transport in BOTH {
        let server = ControlPlane::start().await;
        server.publish(vec![layer("first")]);
        let envoy = Envoy::start(server.port, transport).await;
        let shows = async |word: &str| {
            until(word, async || {
                let runtime = envoy.admin("/runtime").await.ok()?;
                runtime.contains(word).then_some(())
            })
            .await;
        };
        shows("first").await;
        server.flip(vec![layer("second")]).await;
        shows("second").await;
    }
}

async fn get(port: u16, headers: &[(&str, &str)]) -> Option<Answer> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    http::get(stream, HOST, "/", headers).await.ok()
}

/// Waits for an answer with `word`.
async fn says(port: u16, headers: &[(&str, &str)], word: &str) {
    until(word, async || {
        let answer = get(port, headers).await?;
        (answer.body == word).then_some(())
    })
    .await;
}

/// Publishes the one, then the other, and looks each time whether `port` answers accordingly.
async fn follows(
    transport: Transport,
    port: u16,
    headers: &[(&str, &str)],
    config: impl Fn(&str) -> Vec<Resource>,
) -> (ControlPlane, Envoy) {
    let server = ControlPlane::start().await;
    let all = |word| [config(word), vec![runtime("layer")]].concat();
    server.publish(all("first"));
    let envoy = Envoy::start(server.port, transport).await;
    says(port, headers, "first").await;
    server.flip(all("second")).await;
    says(port, headers, "second").await;
    assert_eq!(envoy.stats("update_rejected").await, 0);
    assert_eq!(envoy.stats("init_fetch_timeout").await, 0);
    (server, envoy)
}
