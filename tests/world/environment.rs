//! The complete environment of a test: an Internet, feeds, the daemon, households and DNS clients.
//!
//! ```text
//! World::with_zone("bets.example. 60 A 192.0.2.7").listing("gambling", "bets.example").start().await
//! ```
//!
//! Time is real: the daemon is a separate process, which a paused clock does not affect.

use std::{fs, net::Ipv4Addr};

use serde_json::json;
use tempfile::TempDir;

use super::{
    api::{Api, Switch},
    behaviour::Behaviour,
    certificates::CertificateIssuer,
    client::{Client, client},
    clock::Clock,
    daemon::{Daemon, copy_program, write_program},
    feed::{self, Feed},
    internet::Internet,
    settings::settings,
};

/// The default household and its network.
const HOME: (&str, &str) = ("home", "127.0.7.0/24");

/// A running environment. On drop the daemon ends first, then the Internet, then the folder.
pub struct World {
    /// The program under test.
    pub daemon: Daemon,
    /// Its API, with the operator's key.
    pub api: Api,
    /// The Internet that it resolves.
    pub internet: Internet,
    /// The Internet in which every name exists, where the test uses one.
    elsewhere: Option<Internet>,
    clock: Option<Clock>,
    folder: TempDir,
}

/// Builds a [`World`].
pub struct WorldBuilder {
    internet: Internet,
    elsewhere: Option<Internet>,
    feeds: Vec<Feed>,
    households: Option<Vec<(String, String)>>,
    settings: Vec<String>,
    clock: Option<String>,
    copied: Option<String>,
    issuer: Option<CertificateIssuer>,
    script: Option<String>,
}

impl World {
    /// Begins with one zone in zone-file lines. The first word is the zone's name; later lines are
    /// relative to it.
    pub fn with_zone(zone: &str) -> WorldBuilder {
        Self::builder(Internet::new()).zone(zone)
    }

    /// Begins with an Internet.
    pub fn builder(internet: Internet) -> WorldBuilder {
        WorldBuilder {
            internet,
            elsewhere: None,
            feeds: Vec::new(),
            households: None,
            settings: Vec::new(),
            clock: None,
            copied: None,
            issuer: None,
            script: None,
        }
    }

    /// Begins with an Internet in which every name has this address, reached by forwarding, so that
    /// thousands of names need no iteration from the root.
    pub fn with_every_name_at(address: Ipv4Addr) -> WorldBuilder {
        let elsewhere = Internet::new();
        elsewhere
            .root()
            .set_behaviour(Behaviour::AnswersEverything(address));
        let forward = format!(
            "[recursion]\nforward = [{{ zone = \".\", to = [\"{}\"] }}]\n",
            elsewhere.root().address()
        );
        WorldBuilder {
            elsewhere: Some(elsewhere),
            ..Self::builder(Internet::new()).config(&forward)
        }
    }

    /// A client at this address that queries the daemon.
    pub fn client(&self, from: &str) -> Client {
        client(from).to_daemon(self.daemon.addresses().clone())
    }

    /// Sets a category for a household; it is in effect when this returns.
    pub async fn toggle(&self, household: &str, slug: &str, switch: Switch) {
        self.api.toggle(household, slug, switch).await.ok();
    }

    /// Sets a category for a device.
    pub async fn toggle_device(&self, household: &str, device: &str, slug: &str, switch: Switch) {
        self.api
            .toggle_device(household, device, slug, switch)
            .await
            .ok();
    }

    /// Puts a name and its subtree on a household's own list.
    pub async fn own_name(&self, household: &str, domain: &str, switch: Switch) {
        self.api
            .own_name(household, domain, "subtree", switch)
            .await
            .ok();
    }

    /// Creates a household with a network, with filtering on and nothing blocked.
    pub async fn household(&self, id: &str, network: &str) {
        let body = json!({ "time_zone": "UTC", "preset": "off", "filtering": "on" });
        self.api.household(id, body).await.ok();
        self.api.network(id, network).await.ok();
    }

    /// Creates a device with one identifier, such as `("mac", "02:00:00:00:00:07")`.
    pub async fn device(&self, household: &str, device: &str, (kind, value): (&str, &str)) {
        let body = json!({ "name": device, "identifiers": [{ kind: value }] });
        self.api.device(household, device, body).await.ok();
    }

    /// Replaces the file of a feed, names separated by spaces. The daemon detects the change.
    pub fn replace_feed(&self, feed: &str, names: &str) {
        self.replace_feed_text(feed, &feed::one_a_line(names));
    }

    /// Replaces the file of a feed by any text.
    pub fn replace_feed_text(&self, feed: &str, text: &str) {
        feed::publish(&feed::file(self.folder(), feed), text);
    }

    /// The daemon's clock, if [`WorldBuilder::clock`] has set one.
    pub fn clock(&self) -> &Clock {
        self.clock
            .as_ref()
            .expect("the world was drafted with a clock")
    }

    /// The daemon's folder: configuration, store, artefacts, feeds.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl WorldBuilder {
    /// Adds a zone in zone-file lines. The first word is the zone's name; later lines are relative
    /// to it.
    pub fn zone(mut self, zone: &str) -> Self {
        let apex = zone
            .split_whitespace()
            .next()
            .expect("a zone begins with its name");
        self.internet = self.internet.zone(apex, zone);
        self
    }

    /// Lists names, separated by spaces, as `category`.
    pub fn listing(mut self, category: &str, names: &str) -> Self {
        let known = self.feeds.iter().position(|feed| feed.name() == category);
        let feed = known.map_or_else(
            || Feed::new(category),
            |place| self.feeds.swap_remove(place),
        );
        self.feed(feed.names(names))
    }

    /// Adds a feed.
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feeds.push(feed);
        self
    }

    /// Adds a household. With this, the default household `home` is not created.
    pub fn household(mut self, id: &str, network: &str) -> Self {
        self.households
            .get_or_insert_default()
            .push((id.to_owned(), network.to_owned()));
        self
    }

    /// Creates no household.
    pub fn without_households(mut self) -> Self {
        self.households = Some(Vec::new());
        self
    }

    /// Adds configuration as TOML, which takes precedence.
    pub fn config(mut self, toml: &str) -> Self {
        self.settings.push(toml.to_owned());
        self
    }

    /// Runs a copy of the program in the world's folder, with this search path, so that the test
    /// may replace the program while it runs.
    pub fn with_program_copy(self, path: &str) -> Self {
        Self {
            copied: Some(path.to_owned()),
            ..self
        }
    }

    /// Gives the API a certificate of this issuer, in the world's folder.
    pub fn with_certificate(self, issuer: &CertificateIssuer) -> Self {
        Self {
            issuer: Some(issuer.clone()),
            ..self.config("[api.certificate]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n")
        }
    }

    /// Starts the program by this shell script.
    pub fn started_by(self, script: &str) -> Self {
        Self {
            script: Some(script.to_owned()),
            ..self
        }
    }

    /// Gives the daemon a clock of its own, set to this time in UTC: `2030-01-01 12:00:00`.
    pub fn clock(mut self, time: &str) -> Self {
        self.clock = Some(time.to_owned());
        self
    }

    /// Writes feeds, hints and configuration, starts the daemon and creates the households.
    pub async fn start(self) -> World {
        let folder = tempfile::Builder::new()
            .prefix("ox-protect-")
            .tempdir()
            .expect("a temporary folder");
        fs::write(folder.path().join("root.hints"), self.internet.root_hints())
            .expect("the folder is ours");
        for feed in &self.feeds {
            feed.write(folder.path());
        }
        if let Some(issuer) = &self.issuer {
            issuer.issue(1, 90).write(folder.path());
        }
        let settings = settings(
            folder.path(),
            self.internet.port(),
            &self.feeds,
            &self.settings,
        );
        let clock = self.clock.map(|time| Clock::new(folder.path(), &time));
        let mut environment = clock.as_ref().map(Clock::environment).unwrap_or_default();
        if let Some(path) = self.copied {
            copy_program(folder.path());
            environment.push(("PATH".to_owned(), path));
        }
        if let Some(script) = self.script {
            write_program(folder.path(), &script);
        }
        let daemon = Daemon::start_in(folder.path(), &settings, environment).await;
        let trusted = self.issuer.as_ref().map(CertificateIssuer::pem);
        let api = Api::new(daemon.addresses().clone(), &daemon.key(), trusted);
        let world = World {
            daemon,
            api,
            internet: self.internet,
            elsewhere: self.elsewhere,
            clock,
            folder,
        };
        let home = || vec![(HOME.0.to_owned(), HOME.1.to_owned())];
        for (id, network) in &self.households.unwrap_or_else(home) {
            world.household(id, network).await;
        }
        world
    }
}
