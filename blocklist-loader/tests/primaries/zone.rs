//! A policy zone of a test: its rows and its serial, written as a zone file.

use std::collections::BTreeSet;

pub const ZONE: &str = "rpz.example";
/// The timers of the zone's SOA: refresh, retry, expire, minimum.
pub const TIMERS: &str = "600 60 86400 60";

/// A row in the format of the spool.
pub type Row = String;

pub fn row(owner: &str, rtype: &str, rdata: &str) -> Row {
    format!("{owner}\t{rtype}\t{rdata}")
}

/// A row in the format of servers: owner without the zone, type, data.
pub fn parts(row: &str) -> [&str; 3] {
    row.splitn(3, '\t')
        .collect::<Vec<_>>()
        .try_into()
        .expect("a row has three columns")
}

#[derive(Debug, Clone)]
pub struct Zone {
    pub serial: u32,
    pub rows: BTreeSet<Row>,
}

impl Zone {
    /// This many rows, with every action and every kind of owner among them.
    pub fn of(count: usize, serial: u32) -> Self {
        let mut rows: BTreeSet<Row> = [
            row("32.7.2.0.192.rpz-ip", "CNAME", "."),
            row("24.0.100.51.198.rpz-ip", "CNAME", "rpz-passthru."),
            row("128.7.zz.db8.2001.rpz-ip", "CNAME", "*."),
            row("ns.evil.example.rpz-nsdname", "CNAME", "."),
            row("32.9.2.0.192.rpz-client-ip", "CNAME", "rpz-drop."),
            row("garden.example", "A", "192.0.2.80"),
            row("garden.example", "AAAA", "2001:db8::80"),
            row(
                "garden.example",
                "TXT",
                "\"blocked; see \\\"why\\\"\" \"and how\"",
            ),
            row("mail.example", "MX", "10 mx.provider.example."),
            row(
                "*.sub.garden.example",
                "CNAME",
                "*.garden.provider.example.",
            ),
        ]
        .into();
        let mut number = 0;
        while rows.len() < count {
            rows.insert(rule(number));
            number += 1;
        }
        Self { serial, rows }
    }

    /// The zone as a zone file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA {}\n@ NS ns.provider.example.\n",
            self.soa()
        );
        for row in &self.rows {
            text += row;
            text.push('\n');
        }
        text
    }

    /// The data of the SOA record.
    pub fn soa(&self) -> String {
        format!(
            "ns.provider.example. hostmaster.provider.example. {} {TIMERS}",
            self.serial
        )
    }
}

/// The rule with a number: mostly plain NXDOMAIN, as in commercial zones.
pub fn rule(number: usize) -> Row {
    let target = [
        "rpz-passthru.",
        "*.",
        "rpz-drop.",
        "rpz-tcp-only.",
        "walled.garden.example.",
    ];
    let target = target.get(number % 20).unwrap_or(&".");
    let owner = if number.is_multiple_of(3) {
        format!("*.bad-{number}.example")
    } else {
        format!("bad-{number}.example")
    };
    row(&owner, "CNAME", target)
}
