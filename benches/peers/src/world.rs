//! A small Internet on loopback: a root, ten top-level domains and ten thousand domains, served by
//! three NSDs.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;

use crate::{
    mix::{DOMAINS, TLDS, domain},
    process::Server,
};

const ROOT: &str = "127.0.1.1";
const TLD: &str = "127.0.1.2";
const DOMAIN: &str = "127.0.1.3";
/// A day: nothing runs out during a measurement.
const TTL: u32 = 86_400;
/// Debian puts it where an ordinary user's PATH does not look.
const NSD: &str = "/usr/sbin/nsd";

/// The running authorities.
pub struct World {
    _servers: Vec<Server>,
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
