//! TLS of the API's listeners: versions 1.2 and 1.3, HTTP/1.1.

use std::sync::Arc;

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, ServerConnection,
        crypto::aws_lc_rs::default_provider,
        server::ResolvesServerCert,
        version::{TLS12, TLS13},
    },
};

/// What a connection encrypts before the client reads, in octets: one record (RFC 8446, section
/// 5.1). The library's default is four times as much.
const ENCRYPTED_OCTETS_MAX: usize = 16 << 10;

/// Bounds what a new connection holds.
pub fn bounded(connection: &mut ServerConnection) {
    connection.set_buffer_limit(Some(ENCRYPTED_OCTETS_MAX));
}

/// Shakes hands with the certificate that `certificate` has at that moment.
#[must_use]
pub fn acceptor(certificate: Arc<dyn ResolvesServerCert>) -> TlsAcceptor {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has both versions")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
