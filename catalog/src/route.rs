use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ServerName, UnixMillis};

/// A number per database that grows by one with each change of its routes. A lower epoch is
/// never applied.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The purpose of a route.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and writes.
    Writer,
    /// Reads only.
    Reader,
}

/// The destination of new connections of one role.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Route {
    /// New connections go to `servers`. `draining` servers take none, and stay visible in the sidecars'
    /// statistics until no session uses them.
    Serve {
        servers: Vec<ServerName>,
        #[serde(default)]
        draining: Vec<ServerName>,
    },
    /// New connections are parked until the absolute time `until`. After that the route refuses
    /// them. `from` lists the servers that served before.
    Hold {
        from: Vec<ServerName>,
        since: UnixMillis,
        until: UnixMillis,
    },
    /// New connections are refused at once.
    Refuse,
}

impl Route {
    /// Serves `servers` with nothing draining.
    pub fn serve(servers: Vec<ServerName>) -> Self {
        Self::Serve {
            servers,
            draining: Vec::new(),
        }
    }

    /// The servers that new connections may reach now.
    pub fn serving(&self) -> &[ServerName] {
        match self {
            Self::Serve { servers, .. } => servers,
            Self::Hold { .. } | Self::Refuse => &[],
        }
    }

    /// The servers that this route's clients use: those that serve, or that served before the hold.
    pub fn origin(&self) -> &[ServerName] {
        match self {
            Self::Serve { servers, .. } => servers,
            Self::Hold { from, .. } => from,
            Self::Refuse => &[],
        }
    }

    /// Every server that this route names.
    pub fn named(&self) -> impl Iterator<Item = &ServerName> {
        let draining: &[ServerName] = match self {
            Self::Serve { draining, .. } => draining,
            Self::Hold { .. } | Self::Refuse => &[],
        };
        self.origin().iter().chain(draining)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Serve { .. } => "served by",
            Self::Hold { .. } => "held, served before by",
            Self::Refuse => return f.write_str("refused"),
        };
        let names: Vec<_> = self.origin().iter().map(ServerName::as_str).collect();
        match names[..] {
            [] => write!(f, "{verb} none"),
            _ => write!(f, "{verb} {}", names.join(", ")),
        }
    }
}

/// The two routes of a database, and their epoch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    pub epoch: Epoch,
    pub writer: Route,
    pub reader: Route,
}

/// New routes for one database; `None` leaves a route as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RouteChange {
    pub writer: Option<Route>,
    pub reader: Option<Route>,
}
