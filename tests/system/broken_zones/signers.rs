//! The three signers, each with the tools of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{table::BrokenZone, text_record::TextRecord};

/// From the past into the future of every run, and serial numbers of the same half.
const TIMES: [&str; 2] = ["20200101000000", "20370101000000"];

/// Runs a tool, which may be an administrator's, in a folder. Returns what it prints.
pub fn run(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default());
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{tool}, which `make test` installs: {error}"));
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the tool prints text")
}

/// A zone that is signed.
pub struct SignedZone {
    pub records: Vec<TextRecord>,
    /// The key of the DS record in master-file form, before the table changed its flags, and after.
    keys: [String; 2],
}

/// Where zones and keys are files. The unsigned zone is the file `NAMEzone`.
pub struct SigningFolder(PathBuf);

impl SigningFolder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> String {
        run(&self.0, tool, arguments).trim().to_owned()
    }

    /// Signs a zone as the table says.
    pub fn sign(&self, zone: &BrokenZone) -> SignedZone {
        let mut before = None;
        let file = match zone.signer.as_str() {
            "ldns" => {
                let (key, original) = self.ldns_key(zone, true, zone.term("key"));
                before = Some(original);
                let further = zone
                    .term("zsk")
                    .map(|zsk| self.ldns_key(zone, false, Some(zsk)).0);
                let keys: Vec<String> = [key].into_iter().chain(further).collect();
                self.by_ldns(zone, &keys)
            }
            "bind" => self.by_bind(zone),
            "knot" => self.by_knot(zone),
            _ => format!("{}zone", zone.name),
        };
        let records = TextRecord::read_all(&self.read(&file));
        let entry = records.iter().find(|record| {
            let is_entry = |flags: &String| flags.parse::<u16>().is_ok_and(|flags| flags & 1 != 0);
            record.rtype == "DNSKEY" && is_entry(&record.data[0])
        });
        // A zone that is not signed has a DS record of a key that it does not have.
        let after = match entry {
            Some(entry) => entry.to_string(),
            None => self.ldns_key(zone, true, None).1,
        };
        SignedZone {
            records,
            keys: [before.unwrap_or_else(|| after.clone()), after],
        }
    }

    /// The same zone signed with a key that it does not have.
    pub fn sign_by_stranger(&self, zone: &BrokenZone) -> Vec<TextRecord> {
        let (key, _) = self.ldns_key(zone, true, None);
        TextRecord::read_all(&self.read(&self.by_ldns(zone, &[key])))
    }

    /// Makes a key, with these flags and this protocol where they are given. Returns its name, and
    /// its record as it was before that.
    fn ldns_key(
        &self,
        zone: &BrokenZone,
        is_entry: bool,
        changed: Option<&[String]>,
    ) -> (String, String) {
        let algorithm = match zone.algorithm {
            5 => "RSASHA1",
            7 => "RSASHA1_NSEC3",
            8 => "RSASHA256",
            14 => "ECDSAP384SHA384",
            15 => "ED25519",
            16 => "ED448",
            _ => "ECDSAP256SHA256",
        };
        let bits = zone.term("bits").map_or("1024", |term| term[0].as_str());
        let mut arguments = vec!["-a", algorithm];
        if algorithm.starts_with("RSA") {
            arguments.extend(["-b", bits]);
        }
        if is_entry {
            arguments.push("-k");
        }
        arguments.push(&zone.name);
        let key = self.run("ldns-keygen", &arguments);
        let file = format!("{key}.key");
        let original = self.read(&file);
        let mut record = TextRecord::read_all(&original.replace("\tIN\t", "\t3600\tIN\t"))
            .pop()
            .expect("a file of a key has one");
        if let Some([flags, protocol]) = changed {
            record.data[0] = flags.clone();
            record.data[1] = protocol.clone();
        }
        if let Some([form]) = zone.term("exponent") {
            record.data[3] = with_long_exponent(&record.data[3], form);
        }
        self.write(&file, &record.to_string());
        (key, original)
    }

    fn by_ldns(&self, zone: &BrokenZone, keys: &[String]) -> String {
        let unsigned = format!("{}zone", zone.name);
        let signed = format!("{}signed-by-{}", zone.name, keys[0]);
        let (times, iterations) = (times(zone), iterations(zone));
        let mut arguments = vec!["-i", &times[0], "-e", &times[1], "-f", &signed];
        if zone.denial != "nsec" {
            arguments.extend(["-n", "-t", iterations]);
        }
        if zone.denial == "optout" {
            arguments.push("-p");
        }
        if let Some([salt]) = zone.term("salt") {
            arguments.extend(["-s", salt]);
        }
        arguments.push(&unsigned);
        arguments.extend(keys.iter().map(String::as_str));
        self.run("ldns-signzone", &arguments);
        signed
    }

    fn by_bind(&self, zone: &BrokenZone) -> String {
        let (unsigned, signed) = (format!("{}zone", zone.name), format!("{}signed", zone.name));
        let algorithm = match zone.algorithm {
            7 => "NSEC3RSASHA1",
            8 => "RSASHA256",
            10 => "RSASHA512",
            14 => "ECDSAP384SHA384",
            15 => "ED25519",
            _ => "ECDSAP256SHA256",
        };
        let mut arguments = vec!["-q", "-a", algorithm, "-f", "KSK"];
        if algorithm.contains("RSA") {
            arguments.extend(["-b", "2048"]);
        }
        arguments.push(&zone.name);
        let key = self.run("dnssec-keygen", &arguments);
        let keyed = format!("{unsigned}-with-key");
        let text = self.read(&unsigned) + &self.read(&format!("{key}.key"));
        self.write(&keyed, &text);
        let (times, iterations) = (times(zone), iterations(zone));
        let mut arguments = vec!["-q", "-z", "-P", "-x", "-O", "full", "-o", &zone.name];
        arguments.extend(["-s", &times[0], "-e", &times[1], "-f", &signed]);
        if zone.denial != "nsec" {
            arguments.extend(["-3", "-", "-H", iterations]);
        }
        if zone.denial == "optout" {
            arguments.push("-A");
        }
        arguments.extend([keyed.as_str(), &key]);
        self.run("dnssec-signzone", &arguments);
        signed
    }

    fn by_knot(&self, zone: &BrokenZone) -> String {
        let algorithm = match zone.algorithm {
            8 => "rsasha256",
            14 => "ecdsap384sha384",
            15 => "ed25519",
            _ => "ecdsap256sha256",
        };
        let switch = |is_on| if is_on { "on" } else { "off" };
        let config = format!(
            "database:\n  storage: \"{folder}/{name}db\"\npolicy:\n  - id: p\n    algorithm: {algorithm}\n    \
             single-type-signing: on\n    rrsig-lifetime: 365d\n    rrsig-refresh: 30d\n    \
             cds-cdnskey-publish: none\n    nsec3: {hashed}\n    nsec3-iterations: {iterations}\n    \
             nsec3-salt-length: 0\n    nsec3-opt-out: {opt_out}\nzone:\n  - domain: {name}\n    \
             storage: \"{folder}\"\n    file: {name}zone\n    dnssec-signing: on\n    dnssec-policy: p\n",
            folder = self.0.display(),
            name = zone.name,
            hashed = switch(zone.denial != "nsec"),
            opt_out = switch(zone.denial == "optout"),
            iterations = iterations(zone),
        );
        let (file, out) = (format!("{}conf", zone.name), format!("{}out", zone.name));
        self.write(&file, &config);
        for folder in [&out, &format!("{}db", zone.name)] {
            fs::create_dir_all(self.0.join(folder)).expect("the folder is ours");
        }
        if let Some([exponent]) = zone.term("pem") {
            let (pem, exponent) = (
                format!("{}pem", zone.name),
                format!("rsa_keygen_pubexp:{exponent}"),
            );
            let key = [
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ];
            let key = [&key[..], &["-pkeyopt", &exponent, "-out", &pem]].concat();
            self.run("openssl", &key);
            let import = ["-c", &file, &zone.name, "import-pem", &pem];
            let import = [&import[..], &["algorithm=8", "ksk=yes", "zsk=yes"]].concat();
            self.run("keymgr", &import);
        }
        self.run("kzonesign", &["-c", &file, "-o", &out, &zone.name]);
        format!("{out}/{}zone", zone.name)
    }

    /// The DS records of a signed zone, in the forms that its term `ds` says: `sha256`, `sha1`,
    /// `sha384`; `wrong`, `sha1-wrong`: of other octets; `other-tag`; `digest-N`, `algorithm-N`: of
    /// another number; `before`: of the key before its flags changed; `zsk`: of the other key;
    /// `stranger`: of a key that the zone does not have; `none`.
    pub fn delegation_digests(&self, zone: &BrokenZone, signed: &SignedZone) -> Vec<TextRecord> {
        let forms = zone.term("ds");
        let forms = forms.map_or(vec!["sha256"], |forms| {
            forms.iter().map(String::as_str).collect()
        });
        let forms = forms.into_iter().filter(|form| *form != "none");
        forms
            .map(|form| self.delegation_digest(zone, signed, form))
            .collect()
    }

    fn delegation_digest(&self, zone: &BrokenZone, signed: &SignedZone, form: &str) -> TextRecord {
        let zone_key = |record: &&TextRecord| record.rtype == "DNSKEY" && record.data[0] == "256";
        let key = match form {
            "before" => signed.keys[0].clone(),
            "zsk" => {
                let found = signed.records.iter().find(zone_key);
                found.expect("the zone has another key").to_string()
            }
            _ => signed.keys[1].clone(),
        };
        let file = format!("{}key", zone.name);
        self.write(&file, &key);
        let digest = match form {
            "sha1" | "sha1-wrong" => "-1",
            "sha384" => "-4",
            _ => "-2",
        };
        let text = self.run("ldns-key2ds", &["-n", "-f", digest, &file]);
        let (_, data) = text.split_once("DS").expect("the tool prints a DS record");
        let mut data: Vec<String> = data.split_whitespace().map(str::to_owned).collect();
        if form.ends_with("wrong") {
            let first = if data[3].starts_with('0') { "1" } else { "0" };
            data[3].replace_range(..1, first);
        } else if form == "other-tag" {
            let tag: u16 = data[0].parse().expect("a key tag");
            data[0] = tag.wrapping_add(1).to_string();
        } else if let Some(number) = form.strip_prefix("digest-") {
            data[2] = number.to_owned();
        } else if let Some(number) = form.strip_prefix("algorithm-") {
            data[1] = number.to_owned();
        }
        TextRecord {
            owner: zone.name.clone(),
            ttl: "3600".to_owned(),
            rtype: "DS".to_owned(),
            data,
        }
    }
}

fn times(zone: &BrokenZone) -> [String; 2] {
    match zone.term("times") {
        Some([inception, expiration]) => [inception.clone(), expiration.clone()],
        _ => TIMES.map(str::to_owned),
    }
}

fn iterations(zone: &BrokenZone) -> &str {
    zone.term("iterations").map_or("0", |term| term[0].as_str())
}

/// An RSA key whose exponent begins with a zero octet, or has a length of three octets: RFC 3110
/// section 2.
fn with_long_exponent(key: &str, form: &str) -> String {
    let octets = data_encoding::BASE64.decode(key.as_bytes());
    let octets = octets.expect("the tool writes base64");
    let (length, rest) = octets.split_first().expect("a key has octets");
    let head = match form {
        "zero" => vec![length + 1, 0],
        _ => vec![0, 0, *length],
    };
    data_encoding::BASE64.encode(&[head, rest.to_vec()].concat())
}
