//! TLS material that Envoy gets by SDS over the same stream as all else.

use std::{
    io::Write,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use envoy_types::{
    pb::envoy::{
        config::{
            core::v3::{DataSource, TransportSocket, data_source, transport_socket},
            listener::v3::Listener,
        },
        extensions::transport_sockets::tls::v3::{
            CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, TlsCertificate, secret,
        },
    },
    util::pack_any,
};
use pointsman_lab::{
    patience::{DEADLINE, until},
    ports::free_port,
};
use pointsman_xds::{Resource, ResourceType};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::subscriber::NoSubscriber;

use crate::{
    authority::{Authority, Issued, client_config},
    control_plane::ControlPlane,
    process::{BOTH, Envoy},
    resources::{over_ads, resource},
    served_config::{ServedConfig, edited},
    traffic::Backend,
};

const NAME: &str = "front-certificate";

fn secret(issued: &Issued) -> Resource {
    let inline = |text: &str| {
        let specifier = data_source::Specifier::InlineString(text.to_owned());
        Some(DataSource {
            specifier: Some(specifier),
            ..DataSource::default()
        })
    };
    let secret = Secret {
        name: NAME.to_owned(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&issued.certificate),
            private_key: inline(&issued.key),
            ..TlsCertificate::default()
        })),
    };
    resource(ResourceType::Secret, NAME, &secret)
}

/// The config, with a listener that ends TLS.
fn resources(config: &ServedConfig, issued: &Issued) -> Vec<Resource> {
    let tls = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
                name: NAME.to_owned(),
                sds_config: Some(over_ads()),
            }],
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    let socket = TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(tls))),
    };
    let mut resources = config.resources();
    for resource in &mut resources {
        if resource.kind() == ResourceType::Listener {
            *resource = edited(resource, |listener: &mut Listener| {
                listener.filter_chains[0].transport_socket = Some(socket.clone());
            });
        }
    }
    resources.push(secret(issued));
    resources
}

/// A connection through Envoy's TLS to the backend.
struct Session {
    stream: TlsStream<TcpStream>,
}

impl Session {
    async fn open(port: u16, config: &Arc<ClientConfig>) -> Option<Self> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let connector = TlsConnector::from(Arc::clone(config));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, tcp).await.ok()?;
        // The backend's name.
        stream.read_u8().await.ok()?;
        Some(Self { stream })
    }

    fn shows(&self, issued: &Issued) -> bool {
        let shown = &self.stream.get_ref().1.peer_certificates().unwrap()[0];
        *shown == issued.leaf()
    }

    async fn echo(&mut self) {
        let answered = timeout(DEADLINE, async {
            self.stream.write_all(b"still here").await.unwrap();
            self.stream.flush().await.unwrap();
            let mut answer = [0; 10];
            self.stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"still here");
        });
        answered.await.unwrap();
    }
}

#[tokio::test]
async fn a_listeners_certificate_is_rotated_fifty_times_and_no_connection_is_dropped() {
    for transport in BOTH {
        let authority = Authority::new("servers");
        let tls_config = client_config(&authority, None);
        let backend = Backend::start('a').await;
        let server = ControlPlane::start().await;
        let config = ServedConfig::new(free_port(), backend.port());
        server.publish(resources(&config, &authority.server()));
        let _envoy = Envoy::start(server.port, transport).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let opened = async || Session::open(config.front, &tls_config).await;
            open.push(until("a session", opened).await);
        }
        for _ in 0..50 {
            let next = authority.server();
            server.flip(resources(&config, &next)).await;
            until("the new certificate", async || {
                let session = Session::open(config.front, &tls_config).await?;
                session.shows(&next).then_some(())
            })
            .await;
        }
        for session in &mut open {
            session.echo().await;
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // This thread's alone, on which the server runs, too.
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is a single subscriber, a line that another test's thread logs for the first time
    // is judged by that thread's subscriber, and there is none.
    let _second = tracing::Dispatch::new(NoSubscriber::new());
    tracing::callsite::rebuild_interest_cache();

    let authority = Authority::new("servers");
    let tls_config = client_config(&authority, None);
    let backend = Backend::start('a').await;
    let server = ControlPlane::start().await;
    let config = ServedConfig::new(free_port(), backend.port());
    let (first, second) = (authority.server(), authority.server());
    server.publish(resources(&config, &first));
    let _envoy = Envoy::start(server.port, BOTH[0]).await;
    let opened = async || Session::open(config.front, &tls_config).await;
    until("a session", opened).await;
    server.flip(resources(&config, &second)).await;
    let status = format!("{:?}", server.status());

    let written = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let written = String::from_utf8_lossy(&written).into_owned();
    assert!(written.contains("discovery stream opened"), "{written}");
    for issued in [&first, &second] {
        let resource = secret(issued);
        let bytes = format!("{:?}", &resource.body()[40..56]);
        let bytes = bytes.trim_matches(['[', ']']);
        let line = issued.key.lines().nth(1).unwrap();
        for text in [&written, &status, &format!("{resource:?}")] {
            assert!(!text.contains(&line[..16]), "{text}");
            assert!(!text.contains(bytes), "{text}");
        }
    }
}
