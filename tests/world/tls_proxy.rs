//! A TLS proxy in front of a server that supports only TCP.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// A running proxy; it ends with the test's runtime.
pub struct TlsProxy {
    address: SocketAddr,
    certificate: String,
    connections: Arc<AtomicU64>,
}

impl TlsProxy {
    /// Starts a proxy with a certificate for this name in front of that server.
    pub async fn open(name: &str, to: SocketAddr) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()])
            .expect("a name that a certificate can have");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .expect("a key that was just made");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("certificate and key are a pair")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    // A client that rejects the certificate disconnects.
                    let Ok(mut inside) = acceptor.accept(stream).await else {
                        return;
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _either_may_close = copy_bidirectional(&mut inside, &mut server).await;
                    }
                });
            }
        });
        Self {
            address,
            certificate: made.cert.pem(),
            connections,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
