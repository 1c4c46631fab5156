//! Two small Internets on loopback. One is not signed: a root, ten top-level domains and ten thousand
//! domains, served by three NSDs. The other one is: a root, a top-level domain and a hundred zones,
//! served by three more.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, ensure};

use crate::{
    mix::{DOMAINS, SIGNED_ZONES, TLDS, domain, signed_label, signed_zone},
    process::Server,
};

const ROOT: &str = "127.0.1.1";
const TLD: &str = "127.0.1.2";
const DOMAIN: &str = "127.0.1.3";
const SIGNED_ROOT: &str = "127.0.1.4";
const SIGNED_TLD: &str = "127.0.1.5";
const SIGNED_ZONE: &str = "127.0.1.6";
/// A day: nothing runs out during a measurement.
const TTL: u32 = 86_400;
/// Debian puts it where an ordinary user's PATH does not look.
const NSD: &str = "/usr/sbin/nsd";

/// The running authorities.
pub struct World {
    _servers: Vec<Server>,
}

/// The running authorities of the signed Internet, and what a validator needs to know of it.
pub struct SignedWorld {
    _servers: Vec<Server>,
    pub hints: String,
    pub anchor: Anchor,
}

/// The trust anchor of a signed root: the fields of its DS record.
pub struct Anchor {
    pub tag: String,
    pub algorithm: String,
    pub digest_type: String,
    pub digest: String,
}

impl Anchor {
    /// As a record of a master file.
    pub fn record(&self) -> String {
        let Self {
            tag,
            algorithm,
            digest_type,
            digest,
        } = self;
        format!(". 3600 IN DS {tag} {algorithm} {digest_type} {digest}")
    }

    fn parse(record: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = record.split_whitespace().collect();
        let at = fields.iter().position(|field| *field == "DS");
        let data = at.map(|at| &fields[at + 1..]).unwrap_or_default();
        let [tag, algorithm, digest_type, digest @ ..] = data else {
            anyhow::bail!("no DS record: {record}");
        };
        Ok(Self {
            tag: (*tag).to_owned(),
            algorithm: (*algorithm).to_owned(),
            digest_type: (*digest_type).to_owned(),
            digest: digest.concat(),
        })
    }
}

/// The hints that lead a resolver into this world.
pub fn root_hints() -> String {
    format!(". 3600000 IN NS ns.root.\nns.root. 3600000 IN A {ROOT}\n")
}

impl World {
    /// Writes the zones into `folder` and starts the authorities on `core`.
    pub fn start(folder: &Path, core: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let soa = format!("@ {TTL} IN SOA ns hostmaster 1 3600 600 86400 3600\n@ {TTL} IN NS ns\n");
        let mut root = format!(
            "$ORIGIN .\n. {TTL} IN SOA ns.root. hostmaster.root. 1 3600 600 86400 3600\n. {TTL} IN NS ns.root.\nns.root. {TTL} IN A {ROOT}\n"
        );
        let mut zones = Vec::new();
        for tld in 0..TLDS {
            let _ = writeln!(
                root,
                "tld{tld}. {TTL} IN NS ns.tld{tld}.\nns.tld{tld}. {TTL} IN A {TLD}"
            );
            // A name without an owner has an address all the same: if it does not exist for a
            // client, it was blocked.
            let mut zone =
                format!("$ORIGIN tld{tld}.\n{soa}ns {TTL} IN A {TLD}\n* {TTL} IN A 192.0.2.9\n");
            for number in (tld..DOMAINS).step_by(TLDS) {
                let _ = writeln!(
                    zone,
                    "d{number} {TTL} IN NS ns.d{number}\nns.d{number} {TTL} IN A {DOMAIN}"
                );
            }
            write(folder, &format!("tld{tld}.zone"), &zone)?;
            zones.push((format!("tld{tld}."), format!("tld{tld}.zone")));
        }
        write(folder, "root.zone", &root)?;
        write(
            folder,
            "domain.zone",
            &format!(
                "{soa}ns {TTL} IN A {DOMAIN}\n@ {TTL} IN A 192.0.2.1\n* {TTL} IN A 192.0.2.2\n* {TTL} IN AAAA 2001:db8::2\n"
            ),
        )?;
        let domains = (0..DOMAINS)
            .map(|number| (domain(number) + ".", "domain.zone".to_owned()))
            .collect();
        let parts = [
            (ROOT, vec![(".".to_owned(), "root.zone".to_owned())]),
            (TLD, zones),
            (DOMAIN, domains),
        ];
        let servers = parts
            .into_iter()
            .map(|(address, zones)| start(folder, address, &zones, core))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { _servers: servers })
    }
}

impl SignedWorld {
    /// Signs zones with so many names in `folder` (ECDSA P-256, NSEC), and starts their authorities on
    /// `core`.
    pub fn start(folder: &Path, core: usize, names: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let head = |apex: &str, server: &str, address: &str| {
            format!(
                "{apex} {TTL} IN SOA {server} h.signed. 1 3600 600 86400 3600\n{apex} {TTL} IN NS {server}\n{server} {TTL} IN A {address}\n"
            )
        };
        let mut zones = Vec::new();
        let mut top = head("signed.", "ns.signed.", SIGNED_TLD);
        for number in 0..SIGNED_ZONES {
            let apex = signed_zone(number) + ".";
            let server = format!("ns.{apex}");
            let mut zone = head(&apex, &server, SIGNED_ZONE);
            for label in (number..names).step_by(SIGNED_ZONES).map(signed_label) {
                let _ = writeln!(zone, "{label}.{apex} {TTL} IN A 192.0.2.1");
            }
            let _ = writeln!(
                top,
                "{apex} {TTL} IN NS {server}\n{server} {TTL} IN A {SIGNED_ZONE}"
            );
            top += &sign(folder, &apex, &zone, &mut zones)?;
        }
        let mut root = head(".", "ns.root.", SIGNED_ROOT);
        let _ = writeln!(
            root,
            "signed. {TTL} IN NS ns.signed.\nns.signed. {TTL} IN A {SIGNED_TLD}"
        );
        root += &sign(folder, "signed.", &top, &mut zones)?;
        let anchor = Anchor::parse(&sign(folder, ".", &root, &mut zones)?)?;
        let (zones, above) = zones.split_at(SIGNED_ZONES);
        let (top, root) = above.split_at(1);
        let parts = [(SIGNED_ROOT, root), (SIGNED_TLD, top), (SIGNED_ZONE, zones)];
        let servers = parts
            .into_iter()
            .map(|(address, zones)| start(folder, address, zones, core));
        Ok(Self {
            _servers: servers.collect::<anyhow::Result<_>>()?,
            hints: format!(". 3600000 IN NS ns.root.\nns.root. 3600000 IN A {SIGNED_ROOT}\n"),
            anchor,
        })
    }
}

/// Signs a zone, and adds it and its file to `zones`. Returns its DS record.
fn sign(
    folder: &Path,
    apex: &str,
    zone: &str,
    zones: &mut Vec<(String, String)>,
) -> anyhow::Result<String> {
    let file = format!("{apex}zone");
    let signed = format!("{apex}signed");
    write(folder, &file, zone)?;
    let key = run(
        folder,
        "ldns-keygen",
        &["-a", "ECDSAP256SHA256", "-k", apex],
    )?;
    run(folder, "ldns-signzone", &["-f", &signed, &file, &key])?;
    let ds = folder.join(format!("{key}.ds"));
    zones.push((apex.to_owned(), signed));
    fs::read_to_string(&ds).with_context(|| format!("reading {}", ds.display()))
}

/// Runs one of the tools of Debian's ldnsutils. Returns what it prints.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("running {program} (Debian's ldnsutils)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn start(
    folder: &Path,
    address: &str,
    zones: &[(String, String)],
    core: usize,
) -> anyhow::Result<Server> {
    let place = folder.display();
    let mut config = format!(
        "server:\n ip-address: {address}@53\n username: \"\"\n chroot: \"\"\n zonesdir: \"{place}\"\n pidfile: \"\"\n database: \"\"\n \
         zonelistfile: \"{place}/{address}.list\"\n xfrdfile: \"{place}/{address}.xfrd\"\n xfrdir: \"{place}\"\n server-count: 1\n\
         remote-control:\n control-enable: no\n"
    );
    for (name, file) in zones {
        let _ = write!(config, "zone:\n name: \"{name}\"\n zonefile: \"{file}\"\n");
    }
    write(folder, &format!("{address}.conf"), &config)?;
    let command = [
        NSD.to_owned(),
        "-d".to_owned(),
        "-c".to_owned(),
        format!("{place}/{address}.conf"),
    ];
    Server::start(&command, &[core], &folder.join(format!("{address}.log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_anchor_is_read_from_what_the_signer_writes() {
        let anchor = Anchor::parse(".\t3600\tIN\tDS\t4711 13 2 ab cd\n").unwrap();
        assert_eq!(anchor.record(), ". 3600 IN DS 4711 13 2 abcd");
        assert!(Anchor::parse(". 3600 IN A 192.0.2.1").is_err());
    }
}
