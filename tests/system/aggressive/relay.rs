//! A server that passes queries on to another one and counts them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{op::Message, rr::Name};
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};

/// The address of the relay, beside NSD's.
pub(super) const ADDRESS: &str = "127.60.0.54";

/// Passes queries over UDP on, until it is dropped.
pub(super) struct Relay {
    queried: Arc<Mutex<Vec<Name>>>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub(super) async fn start(port: u16, to: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind((ADDRESS, port)).await.unwrap());
        let queried = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(socket, to, Arc::clone(&queried)));
        Self { queried, task }
    }

    /// How many queries there were for names of a zone.
    pub(super) fn queries(&self, zone: &str) -> usize {
        let zone = Name::from_ascii(zone).unwrap();
        let queried = self.queried.lock().unwrap();
        queried.iter().filter(|name| zone.zone_of(name)).count()
    }
}

async fn serve(socket: Arc<UdpSocket>, to: SocketAddr, queried: Arc<Mutex<Vec<Name>>>) {
    let mut query = [0; 4_096];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        let query = query[..length].to_vec();
        let message = Message::from_vec(&query).expect("the resolver sends queries");
        queried
            .lock()
            .unwrap()
            .extend(message.queries.iter().map(|query| query.name().clone()));
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            let onward = UdpSocket::bind((ADDRESS, 0)).await.unwrap();
            onward.send_to(&query, to).await.unwrap();
            let mut reply = [0; 4_096];
            let received = timeout(Duration::from_secs(20), onward.recv(&mut reply)).await;
            if let Ok(Ok(length)) = received {
                let _the_resolver_may_be_gone = socket.send_to(&reply[..length], from).await;
            }
        });
    }
}
