//! The text of notices to account holders: a change lets more through, or keeps more activity, for
//! whom, since when, and who made it; a key was made or revoked; a line or the whole household was
//! removed.
//!
//! A notice is written in the transaction of the change, from the documents before and after it, or
//! from the key. So no route avoids it, and no request can suppress it. A notice contains only the
//! household's own data. Text that a person wrote stays on its line: texts from before they were
//! checked pass [`policy::text::shown`].

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    rules::{
        builtin_names::BuiltinNames,
        household::{AccountContact, Household, Id},
        relaxations::{AffectedDevices, Relaxation, Relaxations, SettingsLevel},
        schedule::GrantTarget,
        timeline::zone,
    },
    text::shown,
};
use policy_store::{Author, Key, NewNotice, Role, Store, StoreError};
use serde_json::{Value, json};

use super::settings::Channels;
use crate::Control;

/// The most items that a sentence lists.
const LISTED_MAX: usize = 40;

/// The notices of a change, or of the removal of the household.
pub fn of_change(
    control: &Control,
    by: &Author,
    label: Option<&str>,
    before: &Household,
    after: Option<&Household>,
) -> Result<Vec<NewNotice>, StoreError> {
    let Some(after) = after else {
        return of_end(control.notices, by, label, before);
    };
    let loosened = Relaxations::by(
        before,
        after,
        &control.taxonomy,
        control.defaults,
        Timestamp::now(),
    );
    if loosened.is_empty() {
        return Ok(Vec::new());
    }
    let words = Words {
        control,
        before,
        after,
    };
    let changes = words.changes(&loosened);
    let is_only =
        |is_it: bool, count: usize| is_it && changes.len() == count && !loosened.filtering_off;
    let (kind, subject) = match (loosened.filtering_off, changes.len()) {
        (true, _) => ("filtering_off", "Filtering was switched off on your line"),
        (false, 0) => (
            "loosened",
            "The address for notices about your filter was changed",
        ),
        _ if is_only(loosened.history, 1) => {
            ("history", "More is kept of what your devices ask for")
        }
        _ if is_only(!loosened.networks.is_empty(), loosened.networks.len()) => {
            ("network", "A line was taken from your household")
        }
        _ => ("loosened", "Your filter lets more through"),
    };
    // A change of the address goes to the old one.
    let contact = before.contact.as_ref().or(after.contact.as_ref());
    let letter = Letter {
        channels: control.notices,
        by,
        label,
        household: after,
        contact,
    };
    letter
        .write(kind, subject, changes, loosened.contact)
        .map(|notice| vec![notice])
}

/// The notice of a key that may change the household, when it is made or revoked. A child's key may
/// not.
pub fn of_key(
    channels: Channels,
    by: &Author,
    label: Option<&str>,
    household: &Household,
    key: &Key,
) -> Result<Vec<NewNotice>, StoreError> {
    let whose = match key.role {
        Role::Parent => "the holder of the account",
        Role::SecondParent => "another parent",
        Role::Operator | Role::Auditor | Role::Child => return Ok(Vec::new()),
    };
    let name = if key.label.is_empty() {
        String::new()
    } else {
        format!(" (“{}”)", shown(&key.label))
    };
    let (subject, text) = match key.revoked_at {
        None => (
            "There is a new key to your filter",
            format!(
                "A key was made for {whose}{name}: it opens your household's settings to the one who has it."
            ),
        ),
        Some(_) => (
            "A key to your filter was revoked",
            format!("The key for {whose}{name} was revoked: it opens nothing any more."),
        ),
    };
    let what = if key.revoked_at.is_none() {
        "key_made"
    } else {
        "key_revoked"
    };
    let change = json!({ "what": what, "key": key.id, "role": key.role, "label": shown(&key.label), "text": text });
    let letter = Letter {
        channels,
        by,
        label,
        household,
        contact: household.contact.as_ref(),
    };
    letter
        .write("key", subject, vec![change], false)
        .map(|notice| vec![notice])
}

/// The notice of a part of the household's network that went to another household.
pub fn of_part_lost(
    channels: Channels,
    by: &Author,
    label: Option<&str>,
    household: &Household,
    part: IpNet,
) -> Result<NewNotice, StoreError> {
    let letter = Letter {
        channels,
        by,
        label,
        household,
        contact: household.contact.as_ref(),
    };
    letter.write(
        "network",
        "A line was taken from your household",
        vec![network_lost(part)],
        false,
    )
}

/// The notice of the removal of the household.
fn of_end(
    channels: Channels,
    by: &Author,
    label: Option<&str>,
    household: &Household,
) -> Result<Vec<NewNotice>, StoreError> {
    let text = "Your household was deleted with its devices, its rules and its keys: nothing that you set holds on your lines any more.";
    let change = json!({ "what": "household_deleted", "text": text });
    let letter = Letter {
        channels,
        by,
        label,
        household,
        contact: household.contact.as_ref(),
    };
    letter
        .write(
            "household_deleted",
            "Your household was deleted",
            vec![change],
            false,
        )
        .map(|notice| vec![notice])
}

fn network_lost(network: IpNet) -> Value {
    let text = format!(
        "{network} is no longer your household's: the rules that you set do not hold there any more."
    );
    json!({ "what": "network", "network": network, "text": text })
}

/// A notice to be written.
struct Letter<'l> {
    channels: Channels,
    by: &'l Author,
    label: Option<&'l str>,
    household: &'l Household,
    contact: Option<&'l AccountContact>,
}

impl Letter<'_> {
    /// Composes the notice. The texts in `changes` have passed [`shown`], so that they contain no
    /// line breaks of others.
    fn write(
        &self,
        kind: &str,
        subject: &str,
        changes: Vec<Value>,
        is_contact_changed: bool,
    ) -> Result<NewNotice, StoreError> {
        let Self {
            channels,
            by,
            household,
            ..
        } = *self;
        let label = self.label.map(shown);
        let now = Timestamp::now();
        let at = now.to_zoned(zone(household));
        let sentences: Vec<String> = changes
            .iter()
            .filter_map(|change| Some(format!("- {}", change["text"].as_str()?)))
            .collect();
        let contact = if is_contact_changed {
            "\n- Notices like this one go to another address from now on."
        } else {
            ""
        };
        let text = format!(
            "At {} on {} ({}) this was changed by {}:\n\n{}{contact}\n\nIf you did not expect this, look at your settings or ask your provider.\n",
            at.strftime("%H:%M"),
            at.strftime("%A %-d %B %Y"),
            shown(&household.time_zone),
            who(by, label.as_deref()),
            sentences.join("\n"),
        );
        let id = Store::fresh_id()?;
        let document = json!({
            "id": id,
            "kind": kind,
            "household": household.id,
            "external_ref": household.external_ref.as_deref().map(shown),
            "at": now,
            "time_zone": shown(&household.time_zone),
            "by": { "actor": by.actor, "role": by.role, "label": label },
            "changes": changes,
            "contact_changed": is_contact_changed,
            "subject": subject,
            "text": text,
        });
        let mut to = Vec::new();
        if channels.webhook {
            to.push(("webhook", None));
        }
        if let Some(contact) = self.contact.filter(|_| channels.email) {
            to.push(("email", Some(contact.email.clone())));
        }
        Ok(NewNotice {
            id,
            household: household.id.clone(),
            at: now,
            document,
            to,
        })
    }
}

/// The author of a change, as a family knows them.
fn who(by: &Author, label: Option<&str>) -> String {
    let role = match by.role.as_str() {
        "operator" => "your provider",
        "parent" => "the holder of the account",
        "second-parent" => "another parent",
        _ => "somebody",
    };
    match label.filter(|_| by.role != "operator") {
        Some(label) => format!("{role} (“{label}”)"),
        None => role.to_owned(),
    }
}

struct Words<'w> {
    control: &'w Control,
    before: &'w Household,
    after: &'w Household,
}

impl Words<'_> {
    /// The changes, each with a sentence. Categories that changed for the same devices are listed
    /// together.
    fn changes(&self, loosened: &Relaxations) -> Vec<Value> {
        let mut changes = Vec::new();
        if loosened.filtering_off {
            let text = "Filtering was switched off for the whole household. What the law orders and what endangers devices stays blocked.";
            changes.push(json!({ "what": "filtering", "text": text }));
        }
        if let Some(history) = self.after.kept().filter(|_| loosened.history) {
            let names = if history.names {
                ", with the names of what was blocked"
            } else {
                ""
            };
            let text = format!(
                "What your devices ask for is counted and kept for {} days{names}.",
                history.days
            );
            changes.push(json!({ "what": "history", "days": history.days, "names": history.names, "text": text }));
        }
        changes.extend(loosened.networks.iter().copied().map(network_lost));
        for (place, schedule) in &loosened.schedules {
            let of = match place {
                SettingsLevel::Household => "the household".to_owned(),
                SettingsLevel::Person(id) => self
                    .after
                    .people
                    .get(id)
                    .map_or_else(|| id.to_string(), |person| shown(&person.name).into_owned()),
                SettingsLevel::Device(id) => self.device(id),
            };
            let text =
                format!("The schedule “{schedule}” of {of} blocks less than it did, or is gone.");
            changes.push(json!({ "what": "schedule", "schedule": schedule, "text": text }));
        }
        let mut categories: Vec<(&AffectedDevices, Vec<&str>)> = Vec::new();
        for (loss, whom) in &loosened.losses {
            if let Relaxation::Category(slug) = loss {
                match categories.iter_mut().find(|(other, _)| *other == whom) {
                    Some((_, slugs)) => slugs.push(slug),
                    None => categories.push((whom, vec![slug])),
                }
            } else {
                changes.push(self.change(loss, whom));
            }
        }
        for (whom, slugs) in categories {
            let titles: Vec<&str> = slugs
                .iter()
                .filter_map(|slug| {
                    Some(
                        &*self
                            .control
                            .taxonomy
                            .category(self.control.taxonomy.find(slug)?)
                            .title,
                    )
                })
                .collect();
            let when = if whom.is_later { "at some hours " } else { "" };
            let text = format!(
                "No longer blocked {when}for {}: {}.",
                self.whom(whom),
                listed(&titles)
            );
            changes.push(self.with_whom("category", whom, text, json!({ "categories": slugs })));
        }
        changes
    }

    fn change(&self, loss: &Relaxation, whom: &AffectedDevices) -> Value {
        let people = self.whom(whom);
        let when = if whom.is_later { " at some hours" } else { "" };
        let (what, text, detail) = match loss {
            Relaxation::Pause => (
                "pause",
                format!("The Internet is no longer off{when} for {people}."),
                json!({}),
            ),
            Relaxation::Allowed(name) => (
                "allowed",
                format!("{name} is allowed for {people}, whatever would block it."),
                json!({ "name": name }),
            ),
            Relaxation::Unlisted(name) => (
                "unlisted",
                format!("{name} is no longer on the list of blocked names of {people}."),
                json!({ "name": name }),
            ),
            Relaxation::Granted(granted, until) => {
                let thing = self.granted(granted);
                let end = until.to_zoned(zone(self.after));
                let text = format!(
                    "{thing} is open for {people} until {} on {}.",
                    end.strftime("%H:%M"),
                    end.strftime("%A %-d %B")
                );
                (
                    "granted",
                    text,
                    json!({ "granted": granted, "until": until }),
                )
            }
            Relaxation::SafeSearch(slug) => {
                let title = BuiltinNames::shipped()
                    .engines()
                    .iter()
                    .find(|engine| engine.slug == *slug)
                    .map_or(&**slug, |engine| &engine.title);
                (
                    "safe_search",
                    format!("Safe search of {title} is less strict for {people}."),
                    json!({ "engine": slug }),
                )
            }
            Relaxation::SearchUnlock => {
                let text = format!(
                    "An allow or a reward of a search engine now also lifts its safe search for {people}."
                );
                ("search_unlock", text, json!({}))
            }
            Relaxation::Bypass => {
                let text = format!(
                    "Browsers and devices of {people} are no longer told that a filter is wanted, so they may go around it."
                );
                ("bypass", text, json!({}))
            }
            Relaxation::ThingUnlimited => (
                "thing",
                format!("{people}: no longer limited to the domains that were allowed."),
                json!({}),
            ),
            Relaxation::ThingDomain(name) => (
                "thing_domain",
                format!("{name} may be reached by {people}."),
                json!({ "name": name }),
            ),
            Relaxation::Category(slug) => (
                "category",
                format!("{slug} is no longer blocked for {people}."),
                json!({ "categories": [slug] }),
            ),
        };
        self.with_whom(what, whom, text, detail)
    }

    /// What a grant opens.
    fn granted(&self, granted: &GrantTarget) -> String {
        match granted {
            GrantTarget::Everything(_) => "Everything".to_owned(),
            GrantTarget::Domain(name) => name.to_string(),
            GrantTarget::Category(slug) => self.control.taxonomy.find(slug).map_or_else(
                || shown(slug).into_owned(),
                |id| self.control.taxonomy.category(id).title.clone(),
            ),
        }
    }

    fn with_whom(
        &self,
        what: &str,
        whom: &AffectedDevices,
        text: String,
        mut detail: Value,
    ) -> Value {
        detail["what"] = what.into();
        detail["text"] = text.into();
        detail["everybody"] = whom.everybody.into();
        detail["devices"] = whom
            .devices
            .iter()
            .map(|id| json!({ "id": id, "name": self.device(id) }))
            .collect();
        detail
    }

    fn device(&self, id: &Id) -> String {
        let device = self
            .after
            .devices
            .get(id)
            .or_else(|| self.before.devices.get(id));
        device.map_or_else(|| id.to_string(), |device| shown(&device.name).into_owned())
    }

    fn whom(&self, whom: &AffectedDevices) -> String {
        if whom.everybody {
            return "the whole household".to_owned();
        }
        let mut names: Vec<String> = whom.devices.iter().map(|id| self.device(id)).collect();
        if whom.others {
            names.push("devices without a name".to_owned());
        }
        listed(&names)
    }
}

/// Joins words, at most [`LISTED_MAX`] of them.
fn listed<T: AsRef<str>>(words: &[T]) -> String {
    let shown: Vec<&str> = words.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match words.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
