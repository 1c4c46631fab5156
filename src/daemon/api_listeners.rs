//! The listeners of the API: one for all, or one for the public and one for the operator; with or
//! without TLS.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use api::{
    Context,
    client_address::TrustedProxies,
    server::{self, ApiListener},
    tls,
};
use control::{Connections, certificate::ServerCertificate};
use resolver::listener::{ACCEPT_QUEUE, STREAM_SEND_OCTETS, connections::LimitedConnections};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::stdout::say;
use crate::{config::Api, memory::API_CONNECTION_OCTETS};

/// Connections of the operator's listener at a time: monitoring, portals and persons. They are
/// apart, so that the public cannot take them.
const OPERATOR_CONNECTIONS_MAX: usize = 250;

/// Octets of requests and answers that a listener's connections hold at least: four of the largest
/// bodies.
const HELD_OCTETS_MIN: usize = 1 << 20;

/// The API's sockets and certificate.
pub struct ApiSockets {
    public: TcpListener,
    operator: Option<TcpListener>,
    /// `None`: plain HTTP.
    pub certificate: Option<Arc<ServerCertificate>>,
}

/// The certificate of the API, if one is configured.
pub fn certificate(api: &Api) -> anyhow::Result<Option<ServerCertificate>> {
    let read = |files| ServerCertificate::read(files).context("api.certificate cannot be used");
    api.certificate.as_ref().map(read).transpose()
}

impl ApiSockets {
    pub fn bind(api: &Api) -> anyhow::Result<Self> {
        let bind = |address: SocketAddr, of: &str| {
            bind(address).with_context(|| format!("listening on {address} ({of})"))
        };
        Ok(Self {
            certificate: certificate(api)?.map(Arc::new),
            public: bind(api.listen, "API")?,
            operator: match api.operator_listen {
                Some(address) => Some(bind(address, "the operator's API")?),
                None => None,
            },
        })
    }

    /// The origin of the public's listener.
    pub fn origin(&self) -> io::Result<String> {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        Ok(format!("{scheme}://{}", self.public.local_addr()?))
    }

    /// Serves until `ended` changes, and then the requests under way. Says where. The node has memory
    /// for `affordable` connections. Clients that lose some are noted in `limited`.
    pub fn serve(
        self,
        api: &Api,
        affordable: usize,
        (context, limited): (&Arc<Context>, Arc<LimitedConnections>),
        ended: watch::Receiver<()>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let (scheme, tls) = match &self.certificate {
            Some(certificate) => ("https", Some(tls::acceptor(Arc::clone(certificate) as _))),
            None => ("http", None),
        };
        let listener = |router, connections_max| ApiListener {
            router,
            connections: connections(connections_max).noted_in(Arc::clone(&limited)),
            trusted_proxies: TrustedProxies::new(&api.trusted_proxies),
            proxy_from: api.proxy_from.clone(),
            tls: tls.clone(),
        };
        let connections_max = descriptors_for(api.connections_max.min(affordable));
        let mut listeners = JoinSet::new();
        let router = match self.operator {
            Some(socket) => {
                let router = api::operator_router(Arc::clone(context));
                let listener = listener(router, OPERATOR_CONNECTIONS_MAX.min(connections_max));
                say(&format!(
                    "operator api ready on {scheme}://{}",
                    socket.local_addr()?
                ))?;
                listeners.spawn(server::serve(socket, listener, ended.clone()));
                api::public_router(Arc::clone(context))
            }
            None => api::router(Arc::clone(context)),
        };
        let listener = listener(router, connections_max);
        let address = self.public.local_addr()?;
        say(&format!("api ready on {scheme}://{address}"))?;
        if context.app.is_some() {
            say(&format!("app ready on {scheme}://{address}/app/"))?;
        }
        listeners.spawn(server::serve(self.public, listener, ended));
        Ok(tokio::spawn(async move {
            listeners.join_all().await;
        }))
    }
}

/// Binds an address. It may be bound again at once after the program's end.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(STREAM_SEND_OCTETS)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE.into())
}

/// The connections of a listener, which together hold what the node's memory has for them.
pub fn connections(max: usize) -> Connections {
    let octets = max * API_CONNECTION_OCTETS as usize;
    Connections::that_recognise(max, octets.max(HELD_OCTETS_MIN))
}

/// The API's share of the file descriptors: at most a fourth, so that resolutions keep theirs.
fn descriptors_for(configured: usize) -> usize {
    let available = getrlimit(Resource::Nofile).current;
    let share = available.map_or(configured, |available| {
        usize::try_from(available / 4).unwrap_or(configured)
    });
    if share < configured {
        tracing::warn!(
            configured,
            share,
            "few file descriptors: the API has fewer connections than api.connections_max"
        );
    }
    configured.min(share)
}
