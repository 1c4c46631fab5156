//! Web push: notices to browsers in which a family has asked for them (RFC 8030).
//!
//! ```text
//! event of a household -> its subscriptions -> text in their language -> encrypted -> push service
//! ```
//!
//! At most one notice of a kind goes to a browser in an hour. A notice that cannot be delivered is
//! dropped: the app shows the same when it is opened. Only known push services are asked, and those
//! that the operator names, because a browser's page chooses the address.

mod encryption;
mod text;
mod vapid;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use blocklist_loader::PublicOnly;
use jiff::Timestamp;
use metrics::{counter, describe_counter};
use policy::rules::household::Id;
use policy_store::{PushSubscription, Store, StoreError};
use reqwest::{Client, StatusCode, Url};

use self::{
    encryption::{BrowserKeys, POINT_OCTETS, SALT_OCTETS, SECRET_OCTETS, encrypt},
    text::Notice,
    vapid::SenderKey,
};
use crate::{
    Control, causes,
    households::{
        event_channels::Delivered,
        events::{HouseholdEvent, OtherEvent, RequestEventKind},
    },
};

/// The least time between two notices of a kind to a browser.
const APART: Duration = Duration::from_secs(3_600);
/// The most browsers whose last notices are remembered. Beyond, all are forgotten.
const REMEMBERED_MAX: usize = 100_000;
/// How long a push service keeps a notice for a browser that is away, in seconds.
const TTL_S: &str = "86400";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Push services of browsers: a host, or with a dot all hosts below a name.
const SERVICES: [&str; 6] = [
    "fcm.googleapis.com",
    "android.googleapis.com",
    "updates.push.services.mozilla.com",
    ".push.services.mozilla.com",
    ".push.apple.com",
    ".notify.windows.com",
];
/// The longest address of a subscription, in octets.
const ENDPOINT_OCTETS_MAX: usize = 2_048;

/// Why a subscription is refused: the field, and what would be right.
pub type Unfit = (&'static str, &'static str);

/// Sends notices to browsers.
pub struct Pusher {
    key: SenderKey,
    /// For public addresses alone.
    client: Client,
    /// For the hosts that the operator names.
    own_client: Client,
    own_hosts: Vec<String>,
    /// Whom a push service may write to, as `mailto:` or `https:` address.
    contact: Option<String>,
}

impl Pusher {
    /// Reads the key of this node from the store, or makes one.
    pub async fn new(
        store: &Store,
        own_hosts: &[String],
        contact: Option<String>,
    ) -> anyhow::Result<Self> {
        describe_counter!(
            "ox_protect_push_messages_total",
            "Notices to browsers by web push, by outcome"
        );
        let key = store.push_key(&SenderKey::fresh()?).await?;
        let builder = || {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
        };
        Ok(Self {
            key: SenderKey::read(&key)?,
            client: builder()
                .https_only(true)
                .dns_resolver(PublicOnly)
                .build()?,
            own_client: builder().build()?,
            own_hosts: own_hosts.to_vec(),
            contact,
        })
    }

    /// The public key of this node, as browsers want it: `applicationServerKey`.
    pub fn public_key(&self) -> String {
        self.key.public()
    }

    /// Checks what a browser sends about its subscription.
    ///
    /// # Errors
    /// The field that cannot be used.
    pub fn check(&self, subscription: &PushSubscription) -> Result<(), Unfit> {
        let is_point = subscription.public.len() == POINT_OCTETS && subscription.public[0] == 4;
        if !is_point {
            return Err((
                "keys.p256dh",
                "an uncompressed point of P-256, in base64url",
            ));
        }
        if subscription.secret.len() != SECRET_OCTETS {
            return Err(("keys.auth", "16 octets, in base64url"));
        }
        let is_short = subscription.endpoint.len() <= ENDPOINT_OCTETS_MAX;
        match self.client_of(&subscription.endpoint).filter(|_| is_short) {
            Some(_) => Ok(()),
            None => Err((
                "endpoint",
                "an https address of a push service that is known here",
            )),
        }
    }

    /// The client for an endpoint, and the endpoint's address. `None`: nothing may be sent there.
    fn client_of(&self, endpoint: &str) -> Option<(&Client, Url)> {
        let url = Url::parse(endpoint).ok()?;
        let host = url.host_str()?;
        // No push service wants credentials, and the browser's page would choose them.
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        if self.own_hosts.iter().any(|own| own == host) {
            return Some((&self.own_client, url));
        }
        let is_known = SERVICES
            .iter()
            .any(|service| match service.strip_prefix('.') {
                Some(_) => host.ends_with(service),
                None => host == *service,
            });
        let is_plain = url.scheme() == "https" && url.port().is_none();
        (is_known && is_plain).then_some((&self.client, url))
    }

    async fn send(
        &self,
        subscription: &PushSubscription,
        notice: &Notice,
    ) -> Result<StatusCode, String> {
        let (client, url) = self
            .client_of(&subscription.endpoint)
            .ok_or("this push service is not known any more")?;
        let own = PrivateKey::generate(&ECDH_P256).map_err(|_| "no key for the message")?;
        let browser = BrowserKeys {
            public: &subscription.public,
            secret: &subscription.secret,
        };
        let mut salt = [0; SALT_OCTETS];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system has no randomness")?;
        let body = encrypt(notice.to_json().as_bytes(), browser, &own, salt)
            .map_err(|_| "the browser's key cannot be used")?;
        let origin = url.origin().ascii_serialization();
        let authorization =
            self.key
                .authorization(&origin, self.contact.as_deref(), Timestamp::now());
        let sent = client
            .post(url)
            .header("ttl", TTL_S)
            .header("urgency", "normal")
            .header("content-encoding", "aes128gcm")
            .header("content-type", "application/octet-stream")
            .header("authorization", authorization.map_err(|_| "no signature")?)
            .body(body)
            .send()
            .await
            .map_err(|error| causes(&error.without_url()))?;
        Ok(sent.status())
    }
}

/// Sends notices until the node ends.
pub async fn run(control: Arc<Control>, pusher: Arc<Pusher>) {
    let (_, mut events) = control.events.subscribe_all(None);
    let mut last = HashMap::new();
    while let Some(delivered) = events.next().await {
        let Delivered::Event(numbered) = delivered else {
            continue;
        };
        let household = numbered.household.clone();
        let event = numbered.event.into_event();
        if let Err(error) = tell(&control, &pusher, (&household, &event), &mut last).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %household, "browsers were not notified");
        }
    }
}

/// When each browser got its last notice of a kind.
type Last = HashMap<(String, &'static str), Instant>;

/// Sends an event to the browsers that it is for.
async fn tell(
    control: &Control,
    pusher: &Arc<Pusher>,
    (household, event): (&Id, &HouseholdEvent),
    last: &mut Last,
) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let subscriptions = control.store.push_subscriptions(household, now).await?;
    if subscriptions.is_empty() {
        return Ok(());
    }
    let Some(document) = control.store.household(household).await? else {
        return Ok(());
    };
    if last.len() >= REMEMBERED_MAX {
        last.clear();
    }
    for subscription in subscriptions.into_iter().filter(|one| is_for(event, one)) {
        let Some(notice) = Notice::of(event, &document, &subscription.locale) else {
            continue;
        };
        let place = (subscription.endpoint.clone(), notice.kind());
        if last.get(&place).is_some_and(|at| at.elapsed() < APART) {
            count("too_soon");
            continue;
        }
        last.insert(place, Instant::now());
        let (store, pusher) = (control.store.clone(), Arc::clone(pusher));
        tokio::spawn(async move { deliver(&store, &pusher, &subscription, &notice).await });
    }
    Ok(())
}

/// Whether an event is for a browser: requests and silent devices for parents, an answer for the
/// child.
fn is_for(event: &HouseholdEvent, subscription: &PushSubscription) -> bool {
    match event {
        HouseholdEvent::Request(event) => match event.kind {
            RequestEventKind::Request => {
                subscription.device.is_none() && event.request.asked.asked_by != subscription.actor
            }
            RequestEventKind::Answer => subscription.device.as_ref() == Some(&event.request.device),
        },
        HouseholdEvent::Other(
            OtherEvent::Silent { .. } | OtherEvent::NewDevice { .. } | OtherEvent::Prompt { .. },
        ) => subscription.device.is_none(),
        HouseholdEvent::Other(_) => false,
    }
}

async fn deliver(store: &Store, pusher: &Pusher, to: &PushSubscription, notice: &Notice) {
    let outcome = match pusher.send(to, notice).await {
        Ok(status) if status.is_success() => "delivered",
        Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => {
            if let Err(error) = store.remove_push_endpoint(&to.endpoint).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a subscription that has ended was not removed");
            }
            "ended"
        }
        Ok(status) => {
            tracing::info!(%status, "a push service refused a notice");
            "refused"
        }
        Err(error) => {
            tracing::info!(error, "a push service was not reached");
            "failed"
        }
    };
    count(outcome);
}

fn count(outcome: &'static str) {
    counter!("ox_protect_push_messages_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pusher() -> (Pusher, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/store.db", folder.path().display());
        let store = Store::open(&url).await.unwrap();
        let own = ["push.isp.example".to_owned()];
        let pusher = Pusher::new(&store, &own, None).await.unwrap();
        let again = Pusher::new(&store, &own, None).await.unwrap();
        assert_eq!(pusher.public_key(), again.public_key());
        (pusher, folder)
    }

    #[tokio::test]
    async fn only_known_push_services_are_asked() {
        let (pusher, _folder) = pusher().await;
        let public = [&[4][..], &[7; 64]].concat();
        let subscription = |endpoint: &str| PushSubscription {
            device: None,
            actor: "key:a".to_owned(),
            endpoint: endpoint.to_owned(),
            public: public.clone(),
            secret: vec![7; SECRET_OCTETS],
            locale: "en".to_owned(),
        };
        for (endpoint, is_known) in [
            ("https://fcm.googleapis.com/fcm/send/a", true),
            ("https://web.push.apple.com/a", true),
            ("https://push.isp.example/a", true),
            ("http://push.isp.example:8080/a", true),
            ("http://fcm.googleapis.com/a", false),
            ("https://fcm.googleapis.com:8443/a", false),
            ("https://user@fcm.googleapis.com/a", false),
            ("https://:p@fcm.googleapis.com/a", false),
            ("https://user:p@fcm.googleapis.com/a", false),
            ("https://:p@push.isp.example/a", false),
            ("https://user@push.isp.example/a", false),
            ("https://fcm.googleapis.com.evil.example/a", false),
            ("https://evilpush.apple.com.example/a", false),
            ("https://127.0.0.1/a", false),
            ("https://169.254.169.254/latest", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            let checked = pusher.check(&subscription(endpoint));
            assert_eq!(checked.is_ok(), is_known, "{endpoint}");
        }
        let mut short = subscription("https://fcm.googleapis.com/a");
        short.secret.pop();
        assert_eq!(pusher.check(&short).unwrap_err().0, "keys.auth");
        let mut compressed = subscription("https://fcm.googleapis.com/a");
        compressed.public[0] = 2;
        assert_eq!(pusher.check(&compressed).unwrap_err().0, "keys.p256dh");
    }
}
