//! Certificates of the API: an issuer that clients trust, and what it issues for 127.0.0.1.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};

/// The issuer of certificates.
#[derive(Clone)]
pub struct CertificateIssuer {
    issuer: Arc<Issuer<'static, KeyPair>>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub struct IssuedCertificate {
    pub chain: String,
    pub key: String,
}

impl CertificateIssuer {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the issuer of this test");
        let certificate = params.self_signed(&key).expect("an issuer");
        Self {
            pem: certificate.pem(),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    /// The issuer's own certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate that began `begun` days ago and lasts `days` days in all.
    pub fn issue(&self, begun: u64, days: u64) -> IssuedCertificate {
        let day = |days| Duration::from_secs(86_400 * days);
        let key = KeyPair::generate().expect("a key");
        let mut params =
            CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address in a certificate");
        let begin = SystemTime::now() - day(begun);
        params.not_before = begin.into();
        params.not_after = (begin + day(days)).into();
        let certificate = params
            .signed_by(&key, &*self.issuer)
            .expect("a certificate");
        IssuedCertificate {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Connects to a TLS listener as a client that trusts this issuer and offers these protocols.
    pub async fn connect(
        &self,
        to: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake_hands(TcpStream::connect(to).await?, versions, protocols)
            .await
    }

    /// The same on a connection that is open.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("it is ours");
        roots.add(root).expect("it is an issuer's");
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let name = stream.peer_addr()?.ip().into();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

impl IssuedCertificate {
    /// Writes both files into a folder.
    pub fn write(&self, folder: &Path) {
        fs::write(folder.join("chain.pem"), &self.chain).expect("the folder is ours");
        fs::write(folder.join("key.pem"), &self.key).expect("the folder is ours");
    }
}
