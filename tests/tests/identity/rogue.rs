//! A client with a certificate for one database that wants another.

use std::time::Duration;

use anyhow::{Context, Result};
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::{
        accesslog::v3::{
            StreamAccessLogsMessage, access_log_service_client::AccessLogServiceClient,
            stream_access_logs_message::Identifier,
        },
        discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
};
use pointsman_lab::authority::{Authority, Claims, Issued};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::control_plane::SecureControlPlane;

const TYPES: [&str; 3] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
];

/// A connection that shows `certificate`; made at its first use.
fn channel(server: &SecureControlPlane, certificate: Option<&Issued>) -> Result<Channel> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(server.servers.pem()))
        .domain_name("localhost");
    if let Some(Issued { certificate, key }) = certificate {
        let (certificate, key) = (std::fs::read(certificate)?, std::fs::read(key)?);
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Channel::from_shared(format!("https://{}", server.xds()))?;
    Ok(endpoint.tls_config(tls)?.connect_lazy())
}

/// The first response to a stream that says it is `node` and asks for `names`.
async fn ask(
    server: &SecureControlPlane,
    certificate: Option<&Issued>,
    node: &str,
    type_url: &str,
    names: &[&str],
) -> Result<Result<DeltaDiscoveryResponse, Status>> {
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: node.to_owned(),
            ..Node::default()
        }),
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut client = AggregatedDiscoveryServiceClient::new(channel(server, certificate)?);
    let answer = async {
        let requests = tokio_stream::once(request).chain(tokio_stream::pending());
        let mut stream = client
            .delta_aggregated_resources(requests)
            .await?
            .into_inner();
        let first = stream.message().await?;
        first.ok_or_else(|| Status::unknown("the stream ended"))
    };
    timeout(PATIENCE, answer).await.context("no answer")
}

/// What an answer says, without what each stream has for itself.
fn told(mut response: DeltaDiscoveryResponse) -> Vec<u8> {
    response.nonce.clear();
    prost::Message::encode_to_vec(&response)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_is_like_one_that_exists_nowhere() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let app = server.sidecar("app-1")?;
    for type_url in TYPES {
        // By wildcard.
        for names in [&[][..], &["*"]] {
            let answer = ask(&server, Some(&app), "app-1", type_url, names).await??;
            let found: Vec<_> = answer.resources.iter().map(|one| &*one.name).collect();
            let others = found.iter().any(|name| name.contains("billing"));
            assert!(!found.is_empty() && !others, "{type_url}: {found:?}");
        }
        // By name, as long as that of one that nobody has.
        for role in ["writer", "reader", "probe"] {
            let mut answers = Vec::new();
            for database in ["billing", "nowhere"] {
                let name = format!("{role}.{database}");
                let answer = ask(&server, Some(&app), "app-1", type_url, &[&name]).await??;
                assert!(answer.resources.is_empty(), "{name}: {answer:?}");
                let bytes = told(answer);
                let text = bytes.escape_ascii().to_string();
                answers.push(text.replace(database, "DATABASE"));
            }
            assert_eq!(answers[0], answers[1], "{type_url} {role}");
        }
        let everything = server.sidecar("app-2")?;
        let name = match type_url {
            url if url == TYPES[2] => "writer.billing",
            _ => "probe.billing",
        };
        let answer = ask(&server, Some(&everything), "app-2", type_url, &[name]).await??;
        assert_eq!(answer.resources.len(), 1, "{name} exists for app-2");
    }
    let denials = server.denials().await?;
    let on_record = |name: &str| {
        let named = |reason: &str| reason.contains(&format!("{name:?}"));
        denials
            .iter()
            .any(|(principal, reason)| principal == "app-1" && named(reason))
    };
    assert!(
        on_record("writer.billing") && on_record("writer.nowhere"),
        "{denials:?}"
    );
    assert!(server.log()?.contains("writer.billing"), "not in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_about_its_name_tells_a_client_nothing() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let app = server.sidecar("app-1")?;
    let mut answers = Vec::new();
    // The one is registered, the other is not.
    for node in ["app-2", "app-9"] {
        let refused = ask(&server, Some(&app), node, TYPES[0], &[]).await?;
        let status = refused.expect_err("it was served");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        answers.push(status.message().replace(node, "NODE"));
    }
    assert_eq!(answers[0], answers[1]);

    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(Node {
                id: "app-2".to_owned(),
                ..Node::default()
            }),
            ..Identifier::default()
        }),
        ..StreamAccessLogsMessage::default()
    };
    let mut telemetry = AccessLogServiceClient::new(channel(&server, Some(&app))?);
    let messages = tokio_stream::once(message).chain(tokio_stream::pending());
    let reported = timeout(PATIENCE, telemetry.stream_access_logs(messages)).await?;
    let status = reported.expect_err("it reports in another's name");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");

    let denials = server.denials().await?;
    for node in ["app-2", "app-9"] {
        let on_record = denials.iter().any(|(principal, reason)| {
            principal.ends_with("/pointsman/sidecar/app-1") && reason.contains(node)
        });
        assert!(on_record, "{node}: {denials:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_certificate_nobody_is_served() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let app = Claims::of("/pointsman/sidecar/app-1");
    let expired = Claims {
        expired: true,
        ..app
    };
    let foreign = Claims {
        trust_domain: "elsewhere.example",
        ..app
    };
    let folder = server.folder();
    for (certificate, why) in [
        (
            Some(server.sidecars.issue(folder, "y1", expired)?),
            "has expired",
        ),
        (
            Some(Authority::new("sidecars")?.issue(folder, "y2", app)?),
            "nobody that this server trusts",
        ),
        (
            Some(server.operators.issue(folder, "y3", app)?),
            "nobody that this server trusts",
        ),
        (
            Some(server.sidecars.issue(folder, "y4", foreign)?),
            "of another trust domain",
        ),
        (None, "it showed no certificate"),
    ] {
        let refused = ask(&server, certificate.as_ref(), "app-1", TYPES[0], &[]).await?;
        refused.expect_err("it was served");
        let line = server.refusal(why).await?;
        assert!(line.contains("127.0.0.1:"), "{line}");
    }
    // Nobody registered this one, and its certificate is good.
    let stray = server.sidecar("stray")?;
    let status = ask(&server, Some(&stray), "stray", TYPES[0], &[]).await?;
    let status = status.expect_err("it was served");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
