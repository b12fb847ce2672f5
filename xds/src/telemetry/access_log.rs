use std::{net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Address, address, socket_address::PortSpecifier},
        data::accesslog::v3::{AccessLogType, ConnectionProperties, ResponseFlags},
    },
    google::protobuf,
};
use prost::{DecodeError, Message as _};

use super::{AccessLogKind, TcpAccessLog};
use crate::encoded_fields::for_each_field;

/// Calls `take` with each TCP entry of a `StreamAccessLogsMessage`.
///
/// # Errors
/// If it is not such a message. `take` has been called for the entries before the fault.
pub(crate) fn access_logs(
    message: &[u8],
    mut take: impl FnMut(TcpAccessLog),
) -> Result<(), DecodeError> {
    for_each_field(message, TCP_LOGS, |entries| {
        for_each_field(entries, LOG_ENTRY, |entry| {
            take(TcpEntryHead::decode(entry)?.into());
            Ok(())
        })
    })
}

const TCP_LOGS: u32 = 3;
const LOG_ENTRY: u32 = 1;

/// The used fields of `TcpAccessLogEntry`.
#[derive(Clone, PartialEq, prost::Message)]
struct TcpEntryHead {
    #[prost(message, optional, tag = "1")]
    common: Option<CommonHead>,
    #[prost(message, optional, tag = "2")]
    connection: Option<ConnectionProperties>,
}

/// The used fields of `AccessLogCommon`.
#[derive(Clone, PartialEq, prost::Message)]
struct CommonHead {
    #[prost(message, optional, tag = "2")]
    downstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "13")]
    upstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "14")]
    upstream_local_address: Option<Address>,
    #[prost(string, tag = "15")]
    upstream_cluster: String,
    #[prost(message, optional, tag = "16")]
    response_flags: Option<ResponseFlags>,
    #[prost(string, tag = "18")]
    upstream_transport_failure_reason: String,
    #[prost(message, optional, tag = "23")]
    duration: Option<protobuf::Duration>,
    #[prost(uint32, tag = "24")]
    upstream_request_attempt_count: u32,
    #[prost(string, tag = "26")]
    stream_id: String,
    #[prost(int32, tag = "33")]
    access_log_type: i32,
}

impl From<TcpEntryHead> for TcpAccessLog {
    fn from(entry: TcpEntryHead) -> Self {
        let common = entry.common.unwrap_or_default();
        let connection = entry.connection.unwrap_or_default();
        Self {
            kind: kind(common.access_log_type),
            stream_id: common.stream_id,
            upstream_cluster: common.upstream_cluster,
            upstream_address: common.upstream_remote_address.and_then(socket),
            upstream_local_address: common.upstream_local_address.and_then(socket),
            downstream_address: common.downstream_remote_address.and_then(socket),
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            duration: common.duration.and_then(duration),
            attempts: common.upstream_request_attempt_count,
            flags: common
                .response_flags
                .as_ref()
                .map(flags)
                .unwrap_or_default(),
            failure: common.upstream_transport_failure_reason,
        }
    }
}

pub(super) fn kind(access_log_type: i32) -> AccessLogKind {
    const STARTED: i32 = AccessLogType::TcpConnectionStart as i32;
    const CONNECTED: i32 = AccessLogType::TcpUpstreamConnected as i32;
    const PERIODIC: i32 = AccessLogType::TcpPeriodic as i32;
    const ENDED: i32 = AccessLogType::TcpConnectionEnd as i32;
    match access_log_type {
        STARTED => AccessLogKind::Started,
        CONNECTED => AccessLogKind::UpstreamConnected,
        PERIODIC => AccessLogKind::Periodic,
        ENDED => AccessLogKind::Ended,
        _ => AccessLogKind::Other,
    }
}

/// `None` for a negative duration.
pub(super) fn duration(duration: protobuf::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

pub(super) fn socket(address: Address) -> Option<SocketAddr> {
    match address.address? {
        address::Address::SocketAddress(socket) => {
            let PortSpecifier::PortValue(port) = socket.port_specifier? else {
                return None;
            };
            let address = socket.address.parse().ok()?;
            Some(SocketAddr::new(address, u16::try_from(port).ok()?))
        }
        address::Address::Pipe(_) | address::Address::EnvoyInternalAddress(_) => None,
    }
}

/// The flags that a TCP connection can have.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>
pub(super) fn flags(flags: &ResponseFlags) -> Vec<&'static str> {
    [
        (flags.no_healthy_upstream, "UH"),
        (flags.upstream_connection_failure, "UF"),
        (flags.upstream_connection_termination, "UC"),
        (flags.upstream_remote_reset, "UR"),
        (flags.upstream_overflow, "UO"),
        (flags.upstream_retry_limit_exceeded, "URX"),
        (flags.no_cluster_found, "NC"),
        (flags.no_route_found, "NR"),
        (flags.local_reset, "LR"),
        (flags.downstream_connection_termination, "DC"),
        (flags.downstream_remote_reset, "DR"),
        (flags.duration_timeout, "DT"),
        (flags.stream_idle_timeout, "SI"),
        (flags.overload_manager, "OM"),
        (flags.rate_limited, "RL"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::{
        config::core::v3::SocketAddress,
        data::accesslog::v3::{AccessLogCommon, TcpAccessLogEntry},
        service::accesslog::v3::{
            StreamAccessLogsMessage,
            stream_access_logs_message::{LogEntries, TcpAccessLogEntries},
        },
    };

    use super::*;

    #[test]
    fn an_entry_has_the_fields_that_session_tracking_needs() {
        let address = |port| {
            Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: "127.0.0.1".to_owned(),
                    port_specifier: Some(PortSpecifier::PortValue(port)),
                    ..Default::default()
                })),
            })
        };
        let entry = TcpAccessLogEntry {
            common_properties: Some(AccessLogCommon {
                access_log_type: AccessLogType::TcpPeriodic as i32,
                stream_id: "7".to_owned(),
                upstream_cluster: "writer".to_owned(),
                upstream_remote_address: address(5432),
                upstream_local_address: address(50_000),
                downstream_remote_address: address(40_000),
                upstream_request_attempt_count: 17,
                upstream_transport_failure_reason: "refused".to_owned(),
                duration: Some(protobuf::Duration {
                    seconds: 3,
                    nanos: 0,
                }),
                response_flags: Some(ResponseFlags {
                    upstream_connection_failure: true,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            connection_properties: Some(ConnectionProperties {
                received_bytes: 1,
                sent_bytes: 2,
            }),
        };
        let message = StreamAccessLogsMessage {
            log_entries: Some(LogEntries::TcpLogs(TcpAccessLogEntries {
                log_entry: vec![entry],
            })),
            ..Default::default()
        };
        let mut entries = Vec::new();
        access_logs(&message.encode_to_vec(), |entry| entries.push(entry)).unwrap();
        let expected = TcpAccessLog {
            kind: AccessLogKind::Periodic,
            stream_id: "7".to_owned(),
            upstream_cluster: "writer".to_owned(),
            upstream_address: Some(([127, 0, 0, 1], 5432).into()),
            upstream_local_address: Some(([127, 0, 0, 1], 50_000).into()),
            downstream_address: Some(([127, 0, 0, 1], 40_000).into()),
            received_bytes: 1,
            sent_bytes: 2,
            duration: Some(Duration::from_secs(3)),
            attempts: 17,
            flags: vec!["UF"],
            failure: "refused".to_owned(),
        };
        assert_eq!(entries, [expected]);
    }
}
