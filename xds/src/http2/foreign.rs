//! Lets another HTTP/2 implementation serve the connections, so that a benchmark can compare the
//! two. It is not a supported interface.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use tokio::net::TcpStream;

use super::{Bounds, Service, Timeouts, hpack::Decoder};

/// An HTTP/2 implementation other than this crate's.
pub trait ForeignHttp2: fmt::Debug + Send + Sync + 'static {
    /// Serves one client until the connection ends.
    fn serve(
        &self,
        socket: TcpStream,
        service: Arc<dyn Service>,
        bounds: Bounds,
        timeouts: Timeouts,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Reads the encoded fields of a response's part.
#[must_use]
pub fn fields(block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    let decoded = Decoder::new(usize::MAX).decode(block, |name, value| {
        fields.push((name.to_vec(), value.to_vec()));
    });
    debug_assert!(decoded.is_ok(), "this crate has encoded them");
    fields
}
