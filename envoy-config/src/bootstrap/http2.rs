use serde_json::{Value, json};

/// A cluster that is spoken to by HTTP/2, and given up when it is silent.
pub(super) fn http2() -> Value {
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {
            "connection_keepalive": { "interval": "5s", "timeout": "2s" },
        } },
    } })
}
