//! Why there is no connection to the admin listener, and what to do about it.

use std::{error::Error, io, time::Duration};

use anyhow::anyhow;
use rustls::CertificateError;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::Uri;

use crate::cli::global::Global;

/// What a person reads when connecting to `global.admin` has failed.
pub(super) fn unreachable(global: &Global, error: &(dyn Error + 'static)) -> anyhow::Error {
    let admin = &global.admin;
    let Some(tls) = tls_error(error) else {
        return anyhow!(
            "the control plane at {admin} does not answer ({}): is `pointsman serve` running there? \
             --admin or POINTSMAN_ADMIN names another address",
            innermost(error),
        );
    };
    let (certificate_is_wrong, todo) = advice(tls);
    match certificate_is_wrong {
        true => {
            anyhow!("the certificate of the control plane at {admin} is refused ({tls}): {todo}")
        }
        false => {
            anyhow!("there is no TLS connection to the control plane at {admin} ({tls}): {todo}")
        }
    }
}

/// Whether it is the control plane's certificate that is at fault, and what to do.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls may add kinds of errors"
)]
fn advice(error: &rustls::Error) -> (bool, &'static str) {
    match error {
        rustls::Error::InvalidCertificate(fault) => (true, about_certificate(fault)),
        rustls::Error::InvalidMessage(_) => (
            false,
            "it may speak plain text; try http:// instead of https://",
        ),
        rustls::Error::AlertReceived(_) => (false, REFUSES_US),
        _ => (false, "look into the log of `pointsman serve`"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls may add faults of certificates"
)]
fn about_certificate(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer => {
            "no authority in the file of --admin-ca has signed it; name the file of the authority \
             that signs --admin-tls-cert"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it has another name than the address; say with --admin-name or POINTSMAN_ADMIN_NAME \
             which name it has"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the file of --admin-tls-cert; `pointsman serve` takes the new one by itself"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "compare the clocks of the two machines"
        }
        _ => "have another one made for --admin-tls-cert",
    }
}

/// What a person reads when the connection was made and ended before the first answer: over TLS 1.3 a
/// server looks at the client's certificate when the client already believes to be connected.
pub(super) async fn ended(global: &Global, error: &(dyn Error + 'static)) -> anyhow::Error {
    let admin = &global.admin;
    let why = innermost(error);
    if admin.starts_with("https://") {
        return anyhow!("the control plane at {admin} ended the connection ({why}): {REFUSES_US}");
    }
    if speaks_tls(admin).await {
        return anyhow!(
            "the control plane at {admin} speaks TLS: use https://, with --admin-cert, --admin-key \
             and --admin-ca"
        );
    }
    anyhow!(
        "what listens at {admin} ended the connection ({why}): is it the admin listener of \
         `pointsman serve`? --admin or POINTSMAN_ADMIN names another address"
    )
}

/// Whether the listener answers plain text with a record of TLS, an alert.
async fn speaks_tls(admin: &str) -> bool {
    let Ok(uri) = admin.parse::<Uri>() else {
        return false;
    };
    let (Some(host), port) = (uri.host(), uri.port_u16().unwrap_or(HTTP)) else {
        return false;
    };
    let address = format!("{host}:{port}");
    let alerted = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(PREFACE).await?;
        let mut start = [0; 2];
        stream.read_exact(&mut start).await?;
        io::Result::Ok(start == TLS_ALERT)
    };
    matches!(timeout(PATIENCE, alerted).await, Ok(Ok(true)))
}

/// The error of rustls among the causes. An `io::Error` that wraps one is not its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The first cause.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

const REFUSES_US: &str = "it refuses the certificate of --admin-cert, and its log says why; it wants one that an \
     authority of its --admin-tls-client-ca has signed, for \
     spiffe://<trust domain>/pointsman/operator/<name> or …/viewer/<name>";
const HTTP: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(5);
/// The beginning of HTTP/2, which no TLS server takes for its own protocol.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Content type alert, and the major version that every record has (RFC 8446, section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_is_found_below_errors_of_input_and_output() {
        let fault = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(fault));
        assert!(tls_error(&wrapped).is_some());
        assert!(tls_error(&io::Error::other("refused")).is_none());
    }

    #[test]
    fn each_fault_of_a_certificate_has_its_own_remedy() {
        for (fault, remedy) in [
            (CertificateError::UnknownIssuer, "--admin-ca"),
            (CertificateError::NotValidForName, "--admin-name"),
            (CertificateError::Expired, "renew"),
            (CertificateError::NotValidYet, "clocks"),
            (CertificateError::BadEncoding, "--admin-tls-cert"),
        ] {
            let (certificate, todo) = advice(&rustls::Error::InvalidCertificate(fault));
            assert!(certificate && todo.contains(remedy), "{todo}");
        }
    }
}
