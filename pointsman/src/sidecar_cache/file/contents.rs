use std::{fmt, net::IpAddr};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use pointsman_catalog::UnixMillis;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::kept::Kept;

/// Everything that the file says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sidecar_cache) struct Contents {
    pub(in crate::sidecar_cache) owner: Owner,
    /// When the control plane was last known to want this.
    pub(in crate::sidecar_cache) contact: UnixMillis,
    pub(in crate::sidecar_cache) kept: Kept,
}

/// Whose configuration it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::sidecar_cache) struct Owner {
    /// Envoy's node.id.
    pub(in crate::sidecar_cache) node: String,
    /// Where the sidecar listens. Listeners of another address would be another sidecar's.
    pub(in crate::sidecar_cache) listen: IpAddr,
    /// The control plane that it comes from.
    pub(in crate::sidecar_cache) xds: String,
}

/// The second line.
#[derive(Deserialize, Serialize)]
struct About {
    #[serde(flatten)]
    owner: Owner,
    contact_unix_ms: u64,
    /// For people.
    contact: String,
}

/// Why there is nothing to read.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Damage {
    /// It is a cache's, and of no use: it is not whole, or of a former version.
    Useless(String),
    /// It is none, or one of a later version.
    Foreign(String),
}

impl Contents {
    pub(super) fn encode(&self) -> Vec<u8> {
        let at = i64::try_from(self.contact.0).ok();
        let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let about = About {
            owner: self.owner.clone(),
            contact_unix_ms: self.contact.0,
            contact: at.map(|at| at.to_string()).unwrap_or_default(),
        };
        // Texts and a number: it does not fail.
        let mut rest = serde_json::to_vec(&about).unwrap_or_default();
        rest.push(b'\n');
        for message in self.kept.messages() {
            rest.extend(message.encode_length_delimited_to_vec());
        }
        let mut bytes = format!("{MAGIC} {FORMAT} {}\n", hash(&rest)).into_bytes();
        bytes.extend(rest);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let rest = whole(bytes)?;
        let broken = |what: &str| Damage::Useless(format!("its {what} cannot be read"));
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (about, mut messages) = rest.split_at(end.ok_or_else(|| broken("second line"))?);
        messages = &messages[1..];
        let about: About = serde_json::from_slice(about).map_err(|_| broken("second line"))?;
        let mut kept = Kept::default();
        while !messages.is_empty() {
            let message = DeltaDiscoveryResponse::decode_length_delimited(&mut messages)
                .map_err(|_| broken("resources"))?;
            kept.apply(message)
                .map_err(|error| Damage::Useless(error.to_string()))?;
        }
        Ok(Self {
            owner: about.owner,
            contact: UnixMillis(about.contact_unix_ms),
            kept,
        })
    }
}

/// What is behind the first line, if that is right about it.
fn whole(bytes: &[u8]) -> Result<&[u8], Damage> {
    if bytes.is_empty() {
        return Err(Damage::Useless("it is empty".to_owned()));
    }
    let foreign = || Damage::Foreign("it is no cache of `pointsman sidecar cache`".to_owned());
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, rest) = bytes.split_at(end.ok_or_else(foreign)?);
    let line = str::from_utf8(line).map_err(|_| foreign())?;
    let words: Vec<_> = line.split(' ').collect();
    let [MAGIC, format, said] = words[..] else {
        return Err(foreign());
    };
    match format.parse::<u32>() {
        Ok(FORMAT) => {}
        // It says less of whose it is than has to be known.
        Ok(former) if former < FORMAT => {
            return Err(Damage::Useless(format!(
                "it is of format {former}, and this version reads format {FORMAT} alone"
            )));
        }
        Ok(later) => {
            return Err(Damage::Foreign(format!(
                "it is of format {later}, and this version reads format {FORMAT}: remove it, or run the \
                 version that wrote it"
            )));
        }
        Err(_) => return Err(foreign()),
    }
    let rest = &rest[1..];
    if hash(rest) != said {
        return Err(Damage::Useless(
            "its contents are not those that were written".to_owned(),
        ));
    }
    Ok(rest)
}

fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {} from the control plane at {}",
            self.node, self.listen, self.xds
        )
    }
}

const MAGIC: &str = "pointsman-sidecar-cache";
const FORMAT: u32 = 2;
