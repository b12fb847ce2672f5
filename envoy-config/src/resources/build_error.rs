use pointsman_catalog::ServerName;

/// Why nothing was built: a snapshot is whole, or it is not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "{cluster} needs server {server}, whose endpoint has no resolved address: sidecars take \
         IP addresses only; check that the endpoint's name resolves here"
    )]
    Unresolved { cluster: String, server: ServerName },
    #[error(
        "{first} and {second} both listen on port {port}: give one of the databases another \
         listen port"
    )]
    SharedPort {
        port: u16,
        first: String,
        second: String,
    },
}
