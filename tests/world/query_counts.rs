//! Counts of the queries to a server: by name and type, transport, EDNS options, and the properties
//! that make a query hard to guess.
//!
//! Counts rather than a log, so that a million queries use no memory.

use std::collections::{BTreeSet, HashMap};

use hickory_proto::rr::{LowerName, RecordType};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

/// The counts of one server, or the sum of several.
#[derive(Clone, Debug, Default)]
pub struct QueryCounts {
    questions: HashMap<(LowerName, RecordType), u64>,
    options: BTreeSet<u16>,
    ports: BTreeSet<u16>,
    ids: BTreeSet<u16>,
    small_letters: u64,
    capital_letters: u64,
    udp: u64,
    tcp: u64,
}

impl QueryCounts {
    /// Counts one query.
    pub(super) fn note(&mut self, request: &Request) {
        match request.protocol() {
            Protocol::Tcp => self.tcp += 1,
            _ => self.udp += 1,
        }
        for question in request.queries.queries() {
            *self
                .questions
                .entry((question.name().clone(), question.query_type()))
                .or_default() += 1;
            for octet in question.original().name.iter().flatten() {
                self.small_letters += u64::from(octet.is_ascii_lowercase());
                self.capital_letters += u64::from(octet.is_ascii_uppercase());
            }
        }
        self.ports.insert(request.src().port());
        self.ids.insert(request.metadata.id);
        if let Some(edns) = &request.edns {
            self.options.extend(
                edns.options()
                    .options
                    .iter()
                    .map(|(code, _)| u16::from(*code)),
            );
        }
    }

    /// Adds the counts of another server.
    pub(super) fn add(&mut self, other: &Self) {
        for (question, count) in &other.questions {
            *self.questions.entry(question.clone()).or_default() += count;
        }
        self.options.extend(&other.options);
        self.ports.extend(&other.ports);
        self.ids.extend(&other.ids);
        self.small_letters += other.small_letters;
        self.capital_letters += other.capital_letters;
        self.udp += other.udp;
        self.tcp += other.tcp;
    }

    /// How often this question was asked.
    pub fn asked(&self, name: &LowerName, kind: RecordType) -> u64 {
        self.questions
            .get(&(name.clone(), kind))
            .copied()
            .unwrap_or_default()
    }

    /// The number of queries.
    pub fn queries(&self) -> u64 {
        self.udp + self.tcp
    }

    /// The number of queries over UDP.
    pub fn over_udp(&self) -> u64 {
        self.udp
    }

    /// The number of queries over TCP.
    pub fn over_tcp(&self) -> u64 {
        self.tcp
    }

    /// The codes of all EDNS options: what a resolver reveals about its clients.
    pub fn edns_options(&self) -> &BTreeSet<u16> {
        &self.options
    }

    /// The source ports of all queries.
    pub fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// All message ids.
    pub fn ids(&self) -> &BTreeSet<u16> {
        &self.ids
    }

    /// Share of capitals among the letters of all questions, 0 to 1.
    pub fn capitals(&self) -> f64 {
        self.capital_letters as f64 / (self.small_letters + self.capital_letters).max(1) as f64
    }

    /// The number of queries for names at or below `apex`, for all types.
    pub fn queries_below(&self, apex: &LowerName) -> u64 {
        self.questions
            .iter()
            .filter(|((name, _), _)| apex.zone_of(name))
            .map(|(_, count)| count)
            .sum()
    }

    /// Each question with its count, as `NAME TYPE`, sorted.
    pub fn questions(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self
            .questions
            .iter()
            .map(|((name, kind), count)| (format!("{name} {kind}"), *count))
            .collect();
        all.sort();
        all
    }
}
