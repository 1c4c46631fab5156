//! The whole configuration: its sections.

use std::path::{Path, PathBuf};

use blocklist_loader::Feed;
use control::notifications::settings::NoticeSettings;
use serde::{Deserialize, Serialize};

use super::{
    api::Api,
    app::AppConfig,
    dns::Dns,
    history::HistoryConfig,
    landing::{HomeTestConfig, LandingConfig},
    limits::RateConfig,
    lists::ListsConfig,
    log::Log,
    new_devices::NewDevicesConfig,
    node::NodeConfig,
    policy::Policy,
    recursion::RecursionConfig,
    reports::Reports,
    store::StoreConfig,
};
use crate::{login, oidc};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node as a whole.
    pub node: NodeConfig,
    /// The DNS listener, and answers to blocked queries.
    pub dns: Dns,
    /// Rates of queries and responses.
    pub limits: RateConfig,
    /// The REST API.
    pub api: Api,
    /// The parents' app.
    pub app: AppConfig,
    /// Households and keys.
    pub store: StoreConfig,
    /// Compiled lists.
    pub lists: ListsConfig,
    /// The operator's defaults.
    pub policy: Policy,
    /// Notices to account holders.
    pub notices: NoticeSettings,
    /// The activity that households may keep.
    pub history: HistoryConfig,
    /// Devices that households have not named.
    pub new_devices: NewDevicesConfig,
    /// Reports of the public.
    pub reports: Reports,
    /// The page that blocked names lead to.
    pub landing: LandingConfig,
    /// Names by which a browser tests its filter.
    pub home_test: HomeTestConfig,
    /// Recursion and forwarding.
    pub recursion: RecursionConfig,
    /// The log on standard error.
    pub log: Log,
    pub feeds: Vec<Feed>,
}

impl Config {
    /// Resolves relative paths against the folder of the configuration file.
    pub fn rooted(mut self, base: &Path) -> Self {
        let root = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = base.join(&*path);
            }
        };
        root(&mut self.lists.directory);
        root(&mut self.store.audit_archive);
        if let Some(folder) = &mut self.lists.api_folder {
            root(folder);
        }
        root(&mut self.policy.taxonomy);
        root(&mut self.recursion.root_hints);
        self.recursion.trust_anchor_files.iter_mut().for_each(root);
        self.new_devices.mac_register.iter_mut().for_each(root);
        root(&mut self.recursion.trust_anchor_state);
        root(&mut self.recursion.tls_authorities);
        root(&mut self.recursion.local_records);
        if let Some(path) = self.store.url.strip_prefix("sqlite:") {
            self.store.url = format!("sqlite:{}", base.join(path).display());
        }
        self.history = self.history.rooted(base, &self.store.url);
        let secrets = self.dns.cookie_secrets.into_iter();
        self.dns.cookie_secrets = secrets.map(|secret| secret.rooted(base)).collect();
        self.feeds = self
            .feeds
            .into_iter()
            .map(|feed| feed.rooted(base))
            .collect();
        self.lists.share = self.lists.share.map(|share| share.rooted(base));
        self.notices = self.notices.rooted(base);
        self.landing.root(root);
        self.home_test.root(root);
        if let Some(files) = &mut self.api.certificate {
            root(&mut files.chain);
            root(&mut files.key);
        }
        self.app.oidc = self.app.oidc.map(|oidc| login::rooted(oidc, base));
        self.api.oidc = self.api.oidc.map(|settings| oidc::rooted(settings, base));
        self
    }
}
