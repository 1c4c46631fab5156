//! The settings of notices.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The least length of the secret, in octets.
const SECRET_OCTETS_MIN: usize = 16;

/// The channels over which notices go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channels {
    /// To the operator's own system.
    pub webhook: bool,
    /// To the address of the account holder.
    pub email: bool,
}

/// `[notices]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoticeSettings {
    /// The address to which each notice is posted as JSON. Absent: none is posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The secret of the signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<NoticeSecret>,
    /// A file with the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Seconds until the first retry, doubled with each further one.
    pub retry_first_s: u32,
    /// The longest wait for a retry, in seconds.
    pub retry_max_s: u32,
    /// Hours after which a notice is given up.
    pub give_up_hours: u32,
    /// The mail server. Absent: no e-mail is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        let (webhook, secret, secret_file, smtp) = Default::default();
        Self {
            webhook,
            secret,
            secret_file,
            retry_first_s: 10,
            retry_max_s: 21_600,
            give_up_hours: 72,
            smtp,
        }
    }
}

impl NoticeSettings {
    /// The channels that are configured.
    pub fn channels(&self) -> Channels {
        Channels {
            webhook: self.webhook.is_some(),
            email: self.smtp.is_some(),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct NoticeSecret(String);

impl fmt::Debug for NoticeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for NoticeSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// `[notices.smtp]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The host name of the mail server.
    pub host: String,
    #[serde(default = "submission")]
    pub port: u16,
    /// The sender of the e-mails.
    pub from: String,
    #[serde(default)]
    pub tls: SmtpTls,
    /// The user name of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

fn submission() -> u16 {
    587
}

/// TLS to the mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// STARTTLS (RFC 3207). Without it, nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first octet on (RFC 8314).
    Implicit,
    /// No TLS: for a server on this machine.
    None,
}

impl NoticeSettings {
    /// Resolves relative paths against `base`.
    pub fn rooted(mut self, base: &Path) -> Self {
        let root = |path: &mut Option<PathBuf>| *path = path.take().map(|path| base.join(path));
        root(&mut self.secret_file);
        if let Some(smtp) = &mut self.smtp {
            root(&mut smtp.password_file);
        }
        self
    }

    /// Reads the secret of the signatures.
    pub fn secret(&self) -> anyhow::Result<String> {
        let secret = match (&self.secret, &self.secret_file) {
            (Some(NoticeSecret(secret)), _) => secret.clone(),
            (None, Some(path)) => line_of(path).context("notices.secret_file")?,
            (None, None) => String::new(),
        };
        anyhow::ensure!(
            secret.len() >= SECRET_OCTETS_MIN,
            "notices.secret: at least {SECRET_OCTETS_MIN} octets"
        );
        Ok(secret)
    }
}

impl Smtp {
    /// Reads the password, if one is configured.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        self.password_file
            .as_deref()
            .map(|path| line_of(path).context("notices.smtp.password_file"))
            .transpose()
    }
}

fn line_of(path: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Checks the settings without reading files. An error names the key at fault, and the reason.
pub fn check(settings: &NoticeSettings) -> Result<(), (&'static str, String)> {
    let refuse = |key, why: &str| Err((key, why.to_owned()));
    if let Some(url) = &settings.webhook {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return refuse(
                "notices.webhook",
                "an address that begins with https:// or http://",
            );
        }
        if settings.secret.is_some() == settings.secret_file.is_some() {
            return refuse(
                "notices.secret",
                "a webhook needs one of secret and secret_file",
            );
        }
    }
    if settings
        .secret
        .as_ref()
        .is_some_and(|NoticeSecret(secret)| secret.len() < SECRET_OCTETS_MIN)
    {
        return refuse("notices.secret", "at least 16 octets");
    }
    if !(1..=3_600).contains(&settings.retry_first_s) {
        return refuse("notices.retry_first_s", "1 to 3600");
    }
    if settings.retry_max_s < settings.retry_first_s || settings.retry_max_s > 86_400 {
        return refuse("notices.retry_max_s", "retry_first_s to 86400");
    }
    if !(1..=720).contains(&settings.give_up_hours) {
        return refuse("notices.give_up_hours", "1 to 720");
    }
    if let Some(smtp) = &settings.smtp {
        if smtp.from.parse::<lettre::message::Mailbox>().is_err() {
            return refuse(
                "notices.smtp.from",
                "an address such as \"OX Protect <protect@isp.example>\"",
            );
        }
        if smtp.user.is_some() != smtp.password_file.is_some() {
            return refuse("notices.smtp.user", "user and password_file come together");
        }
        if smtp.user.is_some() && smtp.tls == SmtpTls::None {
            return refuse("notices.smtp.tls", "a password is not sent without TLS");
        }
    }
    Ok(())
}
