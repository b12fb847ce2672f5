use std::fmt;

/// The resource types that Envoy requests on an aggregated stream, roughly in the order of the
/// protocol's "make before break" rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// The endpoints of one cluster, a `ClusterLoadAssignment` (EDS).
    Endpoints,
    /// The configuration of one filter (ECDS).
    Extension,
    /// LDS.
    Listener,
    /// Selects the route configuration of a request (SRDS).
    ScopedRoute,
    /// A `RouteConfiguration` (RDS).
    Route,
    /// One host of a route configuration, on demand (VHDS).
    VirtualHost,
    /// TLS certificates and validation contexts (SDS).
    Secret,
    /// A layer of runtime settings (RTDS).
    Runtime,
}

impl ResourceType {
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Extension,
        Self::Listener,
        Self::ScopedRoute,
        Self::Route,
        Self::VirtualHost,
        Self::Secret,
        Self::Runtime,
    ];

    /// The `type_url` of requests and responses, and of each `Any` inside them.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::ScopedRoute => {
                "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
            }
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
        }
    }

    /// The abbreviation of the type's discovery service, such as `EDS`.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Extension => "ECDS",
            Self::Listener => "LDS",
            Self::ScopedRoute => "SRDS",
            Self::Route => "RDS",
            Self::VirtualHost => "VHDS",
            Self::Secret => "SDS",
            Self::Runtime => "RTDS",
        }
    }

    /// The type with this `type_url`, if it is served.
    #[must_use]
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// Whether a client waits until it is told that a name does not exist. Envoy holds an
    /// application's request until a response has an entry for the name, with or without a body.
    /// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds>
    pub(crate) const fn is_on_demand(self) -> bool {
        matches!(self, Self::VirtualHost)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "Cluster",
            Self::Endpoints => "ClusterLoadAssignment",
            Self::Extension => "TypedExtensionConfig",
            Self::Listener => "Listener",
            Self::ScopedRoute => "ScopedRouteConfiguration",
            Self::Route => "RouteConfiguration",
            Self::VirtualHost => "VirtualHost",
            Self::Secret => "Secret",
            Self::Runtime => "Runtime",
        })
    }
}
