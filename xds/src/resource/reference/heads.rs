//! Envoy's messages with only the fields that are read here. `XHead` stands for the message `X`.

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AnyHead {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ClusterHead {
    #[prost(int32, optional, tag = "2")]
    pub(super) discovery_type: Option<i32>,
    #[prost(message, optional, tag = "3")]
    pub(super) eds_cluster_config: Option<EdsClusterConfigHead>,
    #[prost(message, optional, tag = "24")]
    pub(super) transport_socket: Option<TransportSocketHead>,
    #[prost(message, repeated, tag = "43")]
    pub(super) transport_socket_matches: Vec<TransportSocketMatchHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EdsClusterConfigHead {
    #[prost(message, optional, tag = "1")]
    pub(super) eds_config: Option<ConfigSourceHead>,
    #[prost(string, tag = "2")]
    pub(super) service_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TransportSocketMatchHead {
    #[prost(message, optional, tag = "3")]
    pub(super) transport_socket: Option<TransportSocketHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListenerHead {
    #[prost(message, repeated, tag = "3")]
    pub(super) filter_chains: Vec<FilterChainHead>,
    #[prost(message, optional, tag = "19")]
    pub(super) api_listener: Option<ApiListenerHead>,
    #[prost(message, optional, tag = "25")]
    pub(super) default_filter_chain: Option<FilterChainHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ApiListenerHead {
    #[prost(message, optional, tag = "1")]
    pub(super) api_listener: Option<AnyHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FilterChainHead {
    #[prost(message, repeated, tag = "3")]
    pub(super) filters: Vec<FilterHead>,
    #[prost(message, optional, tag = "6")]
    pub(super) transport_socket: Option<TransportSocketHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FilterHead {
    #[prost(message, optional, tag = "4")]
    pub(super) typed_config: Option<AnyHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpConnectionManagerHead {
    #[prost(message, optional, tag = "3")]
    pub(super) rds: Option<RdsHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RdsHead {
    #[prost(string, tag = "2")]
    pub(super) route_config_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TransportSocketHead {
    #[prost(message, optional, tag = "3")]
    pub(super) typed_config: Option<AnyHead>,
}

/// Downstream and upstream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TlsContextHead {
    #[prost(message, optional, tag = "1")]
    pub(super) common_tls_context: Option<CommonTlsContextHead>,
}

/// Downstream and upstream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct QuicTransportHead {
    #[prost(message, optional, tag = "1")]
    pub(super) tls_context: Option<TlsContextHead>,
}

/// Downstream and upstream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StartTlsHead {
    #[prost(message, optional, tag = "2")]
    pub(super) tls_socket_config: Option<TlsContextHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CommonTlsContextHead {
    #[prost(message, repeated, tag = "6")]
    pub(super) tls_certificate_sds_secret_configs: Vec<SdsSecretConfigHead>,
    #[prost(message, optional, tag = "7")]
    pub(super) validation_context_sds_secret_config: Option<SdsSecretConfigHead>,
    #[prost(message, optional, tag = "8")]
    pub(super) combined_validation_context: Option<CombinedValidationContextHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CombinedValidationContextHead {
    #[prost(message, optional, tag = "2")]
    pub(super) validation_context_sds_secret_config: Option<SdsSecretConfigHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SdsSecretConfigHead {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) sds_config: Option<ConfigSourceHead>,
}

/// The config sources other than the stream that carries the resource.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigSourceHead {
    #[prost(string, optional, tag = "1")]
    pub(super) path: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(super) api_config_source: Option<Empty>,
    #[prost(message, optional, tag = "8")]
    pub(super) path_config_source: Option<Empty>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Empty {}
