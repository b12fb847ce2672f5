//! Members without an Envoy: real streams over mutual TLS that take what they are sent, try what they
//! are told to try, and report.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{Node, address::Address, socket_address::PortSpecifier},
            endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
        },
        service::{
            discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            },
            metrics::v3::{
                StreamMetricsMessage, metrics_service_client::MetricsServiceClient,
                stream_metrics_message::Identifier,
            },
        },
    },
    google::protobuf::{Struct, Value, value::Kind},
    io::prometheus::client::{Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use pointsman_lab::authority::Issued;
use prost::Message as _;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::stage::{GROUP, Stage};

/// How members reach the control plane.
#[derive(Clone)]
pub(crate) struct Way {
    endpoint: tonic::transport::Endpoint,
    /// The address at which each says that it listens: that of an Envoy, since it has no listener.
    listen: String,
}

/// A member that runs until it is dropped.
pub(crate) struct StreamMember {
    _tasks: JoinSet<Result<()>>,
}

impl Way {
    pub(crate) fn new(stage: &Stage, certificate: &Issued, listen: String) -> Result<Self> {
        let (own, key) = (
            std::fs::read(&certificate.certificate)?,
            std::fs::read(&certificate.key)?,
        );
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(stage.authorities.servers.pem()))
            .identity(Identity::from_pem(own, key))
            .domain_name("localhost");
        let address = format!("https://{}", stage.control_plane.xds());
        Ok(Self {
            endpoint: Channel::from_shared(address)?.tls_config(tls)?,
            listen,
        })
    }

    fn node(&self, instance: &str) -> Node {
        let listen = Value {
            kind: Some(Kind::StringValue(self.listen.clone())),
        };
        Node {
            id: instance.to_owned(),
            metadata: Some(Struct {
                fields: [("listen".to_owned(), listen)].into(),
            }),
            ..Node::default()
        }
    }
}

impl StreamMember {
    /// Comes as `instance`, and returns once it has taken what it was sent first.
    pub(crate) async fn come(way: Way, instance: String) -> Result<Self> {
        let channel = way.endpoint.connect().await?;
        let node = way.node(&instance);
        let (taken, first) = oneshot::channel();
        let (told, endpoints) = watch::channel(Vec::new());
        let (tried, tries) = watch::channel(Tried::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(discover(channel.clone(), node.clone(), taken, told));
        tasks.spawn(try_endpoints(endpoints, tried));
        tasks.spawn(report(channel, node, tries));
        timeout(PATIENCE, first)
            .await
            .with_context(|| format!("{instance} was sent nothing"))?
            .with_context(|| format!("{instance} was not served"))?;
        Ok(Self { _tasks: tasks })
    }
}

/// What it was told to try, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    endpoints: u32,
    reached: u32,
    /// How often so far.
    tries: u64,
}

/// Subscribes to everything and acknowledges it.
async fn discover(
    channel: Channel,
    node: Node,
    taken: oneshot::Sender<()>,
    told: watch::Sender<Vec<SocketAddr>>,
) -> Result<()> {
    let (requests, sent) = mpsc::unbounded_channel();
    for type_url in TYPES {
        requests.send(DeltaDiscoveryRequest {
            node: Some(node.clone()),
            type_url: type_url.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        })?;
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let responses = client.delta_aggregated_resources(UnboundedReceiverStream::new(sent));
    let mut responses = responses.await?.into_inner();
    let (mut taken, mut seen) = (Some(taken), 0);
    while let Some(response) = responses.message().await? {
        if response.type_url == ENDPOINTS {
            follow_probe(&response, &told)?;
        }
        requests.send(DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        })?;
        seen += 1;
        if seen == TYPES.len()
            && let Some(taken) = taken.take()
        {
            taken.send(()).ok();
        }
    }
    Ok(())
}

/// Takes the endpoints of the probe cluster.
fn follow_probe(
    response: &DeltaDiscoveryResponse,
    told: &watch::Sender<Vec<SocketAddr>>,
) -> Result<()> {
    let probe = format!("probe.{GROUP}");
    for resource in response.resources.iter().filter(|one| one.name == probe) {
        let body = resource
            .resource
            .as_ref()
            .context("a resource without a body")?;
        let assignment = ClusterLoadAssignment::decode(&*body.value)?;
        told.send_replace(addresses(&assignment));
    }
    Ok(())
}

/// Tries what it is told to try again and again, as an Envoy's health check does.
async fn try_endpoints(
    mut endpoints: watch::Receiver<Vec<SocketAddr>>,
    tried: watch::Sender<Tried>,
) -> Result<()> {
    loop {
        let addresses = endpoints.borrow_and_update().clone();
        let mut reached = 0;
        for address in &addresses {
            let connected = timeout(Duration::from_secs(1), TcpStream::connect(address)).await;
            reached += u32::from(matches!(connected, Ok(Ok(_))));
        }
        let told = u32::try_from(addresses.len())?;
        tried.send_modify(|tried| {
            *tried = Tried {
                endpoints: told,
                reached,
                tries: tried.tries + u64::from(told > 0),
            };
        });
        let again = if reached == told { 5 } else { 1 };
        match timeout(Duration::from_secs(again), endpoints.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return Ok(()),
        }
    }
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<SocketAddr> {
    let endpoints = assignment.endpoints.iter().flat_map(|it| &it.lb_endpoints);
    let addresses = endpoints.filter_map(|endpoint| {
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
            return None;
        };
        let Some(Address::SocketAddress(address)) = &endpoint.address.as_ref()?.address else {
            return None;
        };
        let Some(PortSpecifier::PortValue(port)) = address.port_specifier else {
            return None;
        };
        format!("{}:{port}", address.address).parse().ok()
    });
    addresses.collect()
}

/// Flushes statistics as an Envoy does.
async fn report(channel: Channel, node: Node, tries: watch::Receiver<Tried>) -> Result<()> {
    let mut beats = interval(Duration::from_millis(500));
    loop {
        let (messages, sent) = mpsc::unbounded_channel();
        let mut client = MetricsServiceClient::new(channel.clone());
        let reporting = client.stream_metrics(UnboundedReceiverStream::new(sent));
        tokio::pin!(reporting);
        let (mut uptime, mut reported) = (0.0, 0);
        loop {
            tokio::select! {
                // Before it is admitted it is refused, and tries again.
                _ended = &mut reporting => break,
                _ = beats.tick() => {
                    uptime += 0.5;
                    let tried = *tries.borrow();
                    let is_new = tried.tries > reported;
                    reported = tried.tries;
                    let flush = flush(node.clone(), uptime, tried, is_new);
                    if messages.send(flush).is_err() {
                        break;
                    }
                }
            }
        }
    }
}

fn flush(node: Node, uptime: f64, tried: Tried, is_new: bool) -> StreamMetricsMessage {
    let Tried {
        endpoints, reached, ..
    } = tried;
    let all = reached == endpoints;
    let probe = format!("probe/{GROUP}");
    let of_probe = |name: &str, value: f64| family(name, Some(&probe), value);
    StreamMetricsMessage {
        identifier: Some(Identifier { node: Some(node) }),
        envoy_metrics: vec![
            family("server.uptime", None, uptime),
            of_probe("cluster.membership_total", endpoints.into()),
            of_probe("cluster.membership_healthy", reached.into()),
            of_probe(
                "cluster.health_check.success",
                f64::from(u8::from(is_new && all)),
            ),
            of_probe(
                "cluster.health_check.failure",
                f64::from(u8::from(is_new && !all)),
            ),
        ],
    }
}

fn family(name: &str, cluster: Option<&str>, value: f64) -> MetricFamily {
    let label = cluster.map(|cluster| LabelPair {
        name: Some("envoy.cluster_name".to_owned()),
        value: Some(cluster.to_owned()),
    });
    let metric = Metric {
        label: label.into_iter().collect(),
        gauge: Some(Gauge { value: Some(value) }),
        ..Metric::default()
    };
    MetricFamily {
        name: Some(name.to_owned()),
        r#type: Some(MetricType::Gauge.into()),
        metric: vec![metric],
        ..MetricFamily::default()
    }
}

const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const TYPES: [&str; 4] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    ENDPOINTS,
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.service.runtime.v3.Runtime",
];
const PATIENCE: Duration = Duration::from_secs(60);
