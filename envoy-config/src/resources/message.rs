//! Short forms of Envoy's most used messages.

use std::{net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::config::core::v3::{
        Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, TcpKeepalive,
        address, config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
    },
    google::protobuf::{Duration as ProtoDuration, UInt32Value},
};

pub(super) fn uint32(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A duration; one too long for the wire becomes the longest.
pub(super) fn duration(duration: Duration) -> Option<ProtoDuration> {
    Some(ProtoDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    })
}

pub(super) fn socket_address(at: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(at.port().into())),
            ..SocketAddress::default()
        })),
    }
}

/// The sidecar's one aggregated stream.
pub(super) fn over_ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// A peer whose host is gone without a word is noticed after 25 s.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive {
        keepalive_probes: uint32(3),
        keepalive_time: uint32(10),
        keepalive_interval: uint32(5),
    }
}
