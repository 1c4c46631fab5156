//! Delivers notices from the outbox by webhook and by e-mail.
//!
//! ```text
//! a change's transaction -> outbox -> one task for each channel -> delivered | retried later | given up, and kept
//! ```
//!
//! A notice is delivered at least once: if the program ends during a delivery, the notice goes again
//! under the same identifier.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::{StreamExt, stream};
use hmac::{Hmac, Mac};
use jiff::{SignedDuration, Timestamp};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::authentication::Credentials,
};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use policy_store::{Delivery, DueDelivery, Store};
use serde_json::Value;
use sha2::Sha256;

use super::settings::{Channels, NoticeSettings, Smtp, SmtpTls};
use crate::{causes, product_name::ProductName, shutdown::Shutdown};

/// How often the outbox is read.
const TICK: Duration = Duration::from_millis(500);
/// How often the notices in it are counted.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// Notices that are read at a time, and the most deliveries at once.
const BATCH: u32 = 64;
const AT_ONCE: usize = 16;
/// The timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node that shuts down goes on delivering.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long delivered notices are kept, and the contacts of answered reports.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often expired ones are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Delivers notices.
pub struct Post {
    store: Store,
    webhook: Option<Webhook>,
    mail: Option<Mail>,
    settings: NoticeSettings,
}

struct Webhook {
    client: reqwest::Client,
    url: String,
    secret: Vec<u8>,
}

struct Mail {
    from: Mailbox,
    /// The last line of each letter.
    product: ProductName,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Post {
    /// Prepares the channels of the settings. Does not connect to them yet.
    pub fn new(
        store: &Store,
        settings: &NoticeSettings,
        product: &ProductName,
    ) -> anyhow::Result<Self> {
        let webhook = match &settings.webhook {
            Some(url) => {
                let client = reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .timeout(TIMEOUT)
                    .no_proxy();
                let client = client.build().context("notices.webhook")?;
                Some(Webhook {
                    client,
                    url: url.clone(),
                    secret: settings.secret()?.into_bytes(),
                })
            }
            None => None,
        };
        let mail = settings
            .smtp
            .as_ref()
            .map(|smtp| mail(smtp, product).context("notices.smtp"))
            .transpose()?;
        Ok(Self {
            store: store.clone(),
            webhook,
            mail,
            settings: settings.clone(),
        })
    }

    pub fn channels(&self) -> Channels {
        self.settings.channels()
    }

    async fn deliver(&self, due: &DueDelivery) -> Result<(), String> {
        match (&self.webhook, &self.mail) {
            (Some(webhook), _) if due.channel == "webhook" => webhook.deliver(due).await,
            (_, Some(mail)) if due.channel == "email" => mail.deliver(due).await,
            _ => Err("this channel is not configured any more".to_owned()),
        }
    }

    /// When a notice is retried whose delivery failed now.
    fn after_failure(&self, due: &DueDelivery, error: String) -> Delivery {
        let now = Timestamp::now();
        let age = now.duration_since(due.queued_at);
        if age >= SignedDuration::from_hours(self.settings.give_up_hours.into()) {
            return Delivery::Dead(error);
        }
        let wait = u64::from(self.settings.retry_first_s)
            .checked_shl(due.attempts.min(31))
            .unwrap_or(u64::MAX);
        let wait = wait.min(self.settings.retry_max_s.into());
        Delivery::Later(
            now + SignedDuration::from_secs(i64::try_from(wait).unwrap_or(i64::MAX)),
            error,
        )
    }

    async fn attempt(&self, due: DueDelivery) {
        let outcome = tokio::time::timeout(TIMEOUT, self.deliver(&due))
            .await
            .unwrap_or_else(|_| Err("it took too long".to_owned()));
        let delivery = match outcome {
            Ok(()) => {
                counter!("ox_protect_notices_delivered_total", "channel" => due.channel.clone())
                    .increment(1);
                Delivery::Delivered
            }
            Err(error) => {
                counter!("ox_protect_notices_failed_total", "channel" => due.channel.clone())
                    .increment(1);
                let delivery = self.after_failure(&due, error);
                match &delivery {
                    Delivery::Dead(error) => tracing::error!(
                        notice = due.id,
                        channel = due.channel,
                        error,
                        "a notice was given up"
                    ),
                    _ => tracing::warn!(
                        notice = due.id,
                        channel = due.channel,
                        attempts = due.attempts + 1,
                        ?delivery,
                        "a notice was not delivered"
                    ),
                }
                delivery
            }
        };
        if let Err(error) = self.store.settle_notice(&due, &delivery).await {
            // The notice stays due, and goes again.
            tracing::error!(
                error = causes(&error),
                "what became of a notice could not be stored"
            );
        }
    }

    /// Delivers due notices over one channel, until the node shuts down. A delivery under way is
    /// then repeated after the next start.
    async fn deliver_until_shutdown(&self, channel: &'static str, shutdown: &Shutdown) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.tick(&mut tick).await {
            tokio::select! {
                () = self.deliver_due(channel) => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Delivers the due notices of one channel once.
    async fn deliver_due(&self, channel: &'static str) {
        match self
            .store
            .notices_due(channel, Timestamp::now(), BATCH)
            .await
        {
            Ok(due) => {
                stream::iter(due)
                    .for_each_concurrent(AT_ONCE, |due| self.attempt(due))
                    .await
            }
            Err(error) => tracing::error!(error = causes(&error), "the notices cannot be read"),
        }
    }

    /// Tries the operator's due notices once more at the shutdown, for at most [`SHUTDOWN_TIMEOUT`].
    pub async fn end(&self) {
        if self.webhook.is_some() {
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.deliver_due("webhook")).await;
        }
    }

    /// Counts waiting notices, and removes expired ones.
    async fn count(&self, shutdown: &Shutdown) {
        let mut forgotten: Option<tokio::time::Instant> = None;
        let mut tick = tokio::time::interval(COUNT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.tick(&mut tick).await {
            let now = Timestamp::now();
            match self.store.count_notices().await {
                Ok(counts) => {
                    gauge!("ox_protect_notices_queued").set(counts.queued as f64);
                    gauge!("ox_protect_notices_dead").set(counts.dead as f64);
                    let age = counts.oldest.map_or(0.0, |oldest| {
                        now.duration_since(oldest).as_secs_f64().max(0.0)
                    });
                    gauge!("ox_protect_notices_oldest_age_seconds").set(age);
                }
                Err(error) => {
                    tracing::error!(error = causes(&error), "the notices cannot be counted")
                }
            }
            if forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
                forgotten = Some(tokio::time::Instant::now());
                let forgotten = async {
                    self.store.forget_notices(now - KEPT).await?;
                    self.store.forget_reporters(now - KEPT).await
                };
                if let Err(error) = forgotten.await {
                    tracing::error!(error = causes(&error), "what is old cannot be forgotten");
                }
            }
        }
    }
}

/// Delivers notices until the node shuts down.
pub async fn run(post: Arc<Post>, shutdown: Shutdown) {
    describe_counter!(
        "ox_protect_notices_delivered_total",
        "Notices delivered to account holders, by channel"
    );
    describe_counter!(
        "ox_protect_notices_failed_total",
        "Failed attempts to deliver a notice, by channel"
    );
    describe_gauge!(
        "ox_protect_notices_queued",
        "Notices waiting to be delivered"
    );
    describe_gauge!("ox_protect_notices_dead", "Notices that were given up");
    describe_gauge!(
        "ox_protect_notices_oldest_age_seconds",
        "Age of the oldest waiting notice, in seconds"
    );
    tokio::join!(
        post.deliver_until_shutdown("webhook", &shutdown),
        post.deliver_until_shutdown("email", &shutdown),
        post.count(&shutdown)
    );
}

impl Webhook {
    async fn deliver(&self, due: &DueDelivery) -> Result<(), String> {
        let body = due.document.to_string();
        let signature = sign(&self.secret, Timestamp::now(), &body);
        let request = self
            .client
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("OX-Protect-Signature", signature);
        let response = request
            .header("OX-Protect-Notice", &due.id)
            .body(body)
            .send()
            .await;
        // The address may contain a secret, so the error is shown without it.
        let status = response
            .map_err(|error| causes(&error.without_url()))?
            .status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("answered {status}"))
        }
    }
}

/// The signature of a body and the time: `t=UNIX,v1=HEX`, HMAC-SHA-256 over `UNIX.BODY`.
fn sign(secret: &[u8], now: Timestamp, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key has any length");
    mac.update(format!("{}.{body}", now.as_second()).as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    format!("t={},v1={digest}", now.as_second())
}

fn mail(smtp: &Smtp, product: &ProductName) -> anyhow::Result<Mail> {
    let mut from: Mailbox = smtp
        .from
        .parse()
        .with_context(|| format!("from = {:?}", smtp.from))?;
    // A sender without a name of its own has the product's.
    from.name.get_or_insert_with(|| product.to_string());
    let builder = match smtp.tls {
        SmtpTls::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&smtp.host)?,
        SmtpTls::Implicit => AsyncSmtpTransport::<Tokio1Executor>::relay(&smtp.host)?,
        SmtpTls::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host),
    };
    let builder = builder.port(smtp.port).timeout(Some(TIMEOUT));
    let builder = match (&smtp.user, smtp.password()?) {
        (Some(user), Some(password)) => {
            builder.credentials(Credentials::new(user.clone(), password))
        }
        (None, None) => builder,
        _ => return Err(anyhow!("user and password_file come together")),
    };
    Ok(Mail {
        from,
        product: product.clone(),
        transport: builder.build(),
    })
}

/// The sentence of a notice that has taken up others.
fn repeated(document: &Value) -> String {
    let (times, first) = (&document["times"], &document["first_at"]);
    match (times.as_u64(), first.as_str()) {
        (Some(times), Some(first)) => {
            format!("\nThis has happened {times} times since {first}.\n")
        }
        _ => String::new(),
    }
}

impl Mail {
    async fn deliver(&self, due: &DueDelivery) -> Result<(), String> {
        let text = |key: &str| {
            due.document
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let to: Mailbox = due
            .recipient
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|error| format!("the address: {error}"))?;
        // All attempts have one identifier, so that a mailbox recognises a duplicate.
        let message_id = format!("<{}@{}>", due.id, self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(text("subject"))
            .message_id(Some(message_id))
            .date_now();
        let mut message = message
            .header(ContentType::TEXT_PLAIN)
            .body(format!(
                "{}{}\n{}\n",
                text("text"),
                repeated(&due.document),
                self.product
            ))
            .map_err(|error| causes(&error))?;
        let generated = HeaderName::new_from_ascii_str("Auto-Submitted");
        message
            .headers_mut()
            .insert_raw(HeaderValue::new(generated, "auto-generated".to_owned()));
        self.transport
            .send(message)
            .await
            .map(drop)
            .map_err(|error| causes(&error))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notice_that_has_taken_up_others_says_how_many_there_were() {
        let at = "2026-11-30T10:00:00Z";
        let document = json!({ "at": "2026-11-30T12:00:00Z", "times": 3, "first_at": at });
        assert_eq!(
            repeated(&document),
            format!("\nThis has happened 3 times since {at}.\n")
        );
        assert_eq!(repeated(&json!({ "at": at })), "");
    }

    #[test]
    fn a_signature_is_over_the_time_and_the_body() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let body = json!({ "id": "a" }).to_string();
        let signed = sign(b"secret", at, &body);
        // Computed with: printf '1700000000.{"id":"a"}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signed,
            "t=1700000000,v1=24d16fb59a06bae8d031d22eb88b663480215741cc94a5cd046993fa9ea6ac23"
        );
        assert_ne!(sign(b"other", at, &body), signed);
    }
}
