//! A TCP proxy before a primary: it records queries and received octets, and can close the
//! connection in between.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::server::ADDRESS;

/// The query types that occur here, by number.
const TYPES: [(u16, &str); 3] = [(6, "SOA"), (251, "IXFR"), (252, "AXFR")];

pub struct Proxy {
    pub port: u16,
    notes: Arc<Notes>,
}

struct Notes {
    asked: Mutex<Vec<&'static str>>,
    came: AtomicU64,
    /// How many octets of the primary may pass.
    left: AtomicU64,
}

impl Proxy {
    pub fn before(port: u16) -> Self {
        Self::cutting_after(port, u64::MAX)
    }

    pub fn cutting_after(port: u16, octets: u64) -> Self {
        let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
        let notes = Arc::new(Notes {
            asked: Mutex::default(),
            came: AtomicU64::new(0),
            left: AtomicU64::new(octets),
        });
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            notes: Arc::clone(&notes),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                let notes = Arc::clone(&notes);
                thread::spawn(move || {
                    carry(
                        client.unwrap(),
                        TcpStream::connect((ADDRESS, port)).unwrap(),
                        &notes,
                    )
                });
            }
        });
        proxy
    }

    /// The queries so far.
    pub fn asked(&self) -> Vec<&'static str> {
        self.notes.asked.lock().unwrap().clone()
    }

    /// Octets that the primary has sent so far.
    pub fn came(&self) -> u64 {
        self.notes.came.load(Ordering::Relaxed)
    }
}

fn carry(mut client: TcpStream, mut primary: TcpStream, notes: &Notes) {
    let mut length = [0; 2];
    client.read_exact(&mut length).unwrap();
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    client.read_exact(&mut question).unwrap();
    let name_end = 12 + question[12..].iter().position(|&octet| octet == 0).unwrap();
    let rtype = u16::from_be_bytes([question[name_end + 1], question[name_end + 2]]);
    notes
        .asked
        .lock()
        .unwrap()
        .push(TYPES.iter().find(|(number, _)| *number == rtype).unwrap().1);
    primary
        .write_all(&[&length[..], &question].concat())
        .unwrap();
    let mut octets = [0; 4096];
    while let Ok(length @ 1..) = primary.read(&mut octets) {
        let left = notes.left.load(Ordering::Relaxed);
        let passes = (length as u64).min(left);
        notes.left.store(left - passes, Ordering::Relaxed);
        notes.came.fetch_add(passes, Ordering::Relaxed);
        if client.write_all(&octets[..passes as usize]).is_err() || passes < length as u64 {
            break;
        }
    }
    let _ = (
        client.shutdown(Shutdown::Both),
        primary.shutdown(Shutdown::Both),
    );
}
