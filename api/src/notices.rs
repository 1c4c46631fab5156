//! What the holder of an account is told in plain words: that something is open which was not, or more is kept than was, for whom, since
//! when, and who did it.
//!
//! Notices are made where documents are compared, in the transaction that changes them, so no route goes around them and no request can
//! ask for silence. They hold nothing but the household's own.

use jiff::Timestamp;
use policy::{
    household::{Household, Id},
    loosened::{Loosened, Loss, Place, Whom},
    schedule::Granted,
    special::Specials,
    timeline::zone,
};
use policy_store::{Author, NewNotice, Store};
use serde_json::{Value, json};

use crate::{Context, problem::Problem};

/// The most things of one kind that a sentence lists.
const LISTED_MAX: usize = 40;

/// Over which channels notices go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channels {
    /// To the operator's own system.
    pub webhook: bool,
    /// To the address of the account's holder.
    pub email: bool,
}

/// What the holder of the account must learn of a change.
pub fn of_change(
    context: &Context,
    by: &Author,
    label: Option<&str>,
    before: &Household,
    after: &Household,
) -> Result<Vec<NewNotice>, Problem> {
    let now = Timestamp::now();
    let loosened = Loosened::by(before, after, &context.taxonomy, context.defaults, now);
    if loosened.is_empty() {
        return Ok(Vec::new());
    }
    let words = Words { context, before, after };
    let changes = words.changes(&loosened);
    let zone = zone(after);
    let at = now.to_zoned(zone.clone());
    let is_only_history = loosened.history && changes.len() == 1;
    let subject = match (loosened.filtering_off, changes.len()) {
        (false, _) if is_only_history => "More is kept of what your devices ask for",
        (true, _) => "Filtering was switched off on your line",
        (false, 0) => "The address for notices about your filter was changed",
        (false, _) => "Your filter lets more through",
    };
    let sentences: Vec<String> = changes.iter().filter_map(|change| Some(format!("- {}", change["text"].as_str()?))).collect();
    let contact = if loosened.contact { "\n- Notices like this one go to another address from now on." } else { "" };
    let text = format!(
        "At {} on {} ({}) this was changed by {}:\n\n{}{contact}\n\nIf you did not expect this, look at your settings or ask your provider.\n",
        at.strftime("%H:%M"),
        at.strftime("%A %-d %B %Y"),
        after.time_zone,
        who(by, label),
        sentences.join("\n"),
    );
    let id = Store::fresh_id()?;
    let document = json!({
        "id": id,
        "kind": if loosened.filtering_off { "filtering_off" } else if is_only_history { "history" } else { "loosened" },
        "household": after.id,
        "external_ref": after.external_ref,
        "at": now,
        "time_zone": after.time_zone,
        "by": { "actor": by.actor, "role": by.role, "label": label },
        "changes": changes,
        "contact_changed": loosened.contact,
        "subject": subject,
        "text": text,
    });
    // Whoever changes the address does not choose where the news of that goes.
    let address = before.contact.as_ref().or(after.contact.as_ref()).map(|contact| contact.email.clone());
    let mut to = Vec::new();
    if context.notices.webhook {
        to.push(("webhook", None));
    }
    if context.notices.email && address.is_some() {
        to.push(("email", address));
    }
    Ok(vec![NewNotice { id, household: after.id.clone(), at: now, document, to }])
}

/// Who did it, as a family knows them.
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
    context: &'w Context,
    before: &'w Household,
    after: &'w Household,
}

impl Words<'_> {
    /// Each thing that is open now, with a sentence. Categories that are open for the same stand together.
    fn changes(&self, loosened: &Loosened) -> Vec<Value> {
        let mut changes = Vec::new();
        if loosened.filtering_off {
            let text = "Filtering was switched off for the whole household. What the law orders and what endangers devices stays blocked.";
            changes.push(json!({ "what": "filtering", "text": text }));
        }
        if let Some(history) = self.after.kept().filter(|_| loosened.history) {
            let names = if history.names { ", with the names of what was blocked" } else { "" };
            let text = format!("What your devices ask for is counted and kept for {} days{names}.", history.days);
            changes.push(json!({ "what": "history", "days": history.days, "names": history.names, "text": text }));
        }
        for (place, schedule) in &loosened.schedules {
            let of = match place {
                Place::Household => "the household".to_owned(),
                Place::Person(id) => self.after.people.get(id).map_or_else(|| id.to_string(), |person| person.name.clone()),
                Place::Device(id) => self.device(id),
            };
            let text = format!("The schedule “{schedule}” of {of} blocks less than it did, or is gone.");
            changes.push(json!({ "what": "schedule", "schedule": schedule, "text": text }));
        }
        let mut categories: Vec<(&Whom, Vec<&str>)> = Vec::new();
        for (loss, whom) in &loosened.losses {
            if let Loss::Category(slug) = loss {
                match categories.iter_mut().find(|(other, _)| *other == whom) {
                    Some((_, slugs)) => slugs.push(slug),
                    None => categories.push((whom, vec![slug])),
                }
            } else {
                changes.push(self.change(loss, whom));
            }
        }
        for (whom, slugs) in categories {
            let titles: Vec<&str> =
                slugs.iter().filter_map(|slug| Some(&*self.context.taxonomy.category(self.context.taxonomy.find(slug)?).title)).collect();
            let when = if whom.is_later { "at some hours " } else { "" };
            let text = format!("No longer blocked {when}for {}: {}.", self.whom(whom), listed(&titles));
            changes.push(self.shown("category", whom, text, json!({ "categories": slugs })));
        }
        changes
    }

    fn change(&self, loss: &Loss, whom: &Whom) -> Value {
        let people = self.whom(whom);
        let when = if whom.is_later { " at some hours" } else { "" };
        let (what, text, detail) = match loss {
            Loss::Pause => ("pause", format!("The Internet is no longer off{when} for {people}."), json!({})),
            Loss::Allowed(name) => {
                ("allowed", format!("{name} is allowed for {people}, whatever would block it."), json!({ "name": name }))
            }
            Loss::Unlisted(name) => {
                ("unlisted", format!("{name} is no longer on the list of blocked names of {people}."), json!({ "name": name }))
            }
            Loss::Granted(granted, until) => {
                let thing = match granted {
                    Granted::Everything(_) => "Everything".to_owned(),
                    Granted::Domain(name) => name.to_string(),
                    Granted::Category(slug) => {
                        self.context.taxonomy.find(slug).map_or_else(|| slug.clone(), |id| self.context.taxonomy.category(id).title.clone())
                    }
                };
                let end = until.to_zoned(zone(self.after));
                let text = format!("{thing} is open for {people} until {} on {}.", end.strftime("%H:%M"), end.strftime("%A %-d %B"));
                ("granted", text, json!({ "granted": granted, "until": until }))
            }
            Loss::SafeSearch(slug) => {
                let title =
                    Specials::shipped().engines().iter().find(|engine| engine.slug == *slug).map_or(&**slug, |engine| &engine.title);
                ("safe_search", format!("Safe search of {title} is less strict for {people}."), json!({ "engine": slug }))
            }
            Loss::Bypass => {
                let text =
                    format!("Browsers and devices of {people} are no longer told that a filter is wanted, so they may go around it.");
                ("bypass", text, json!({}))
            }
            Loss::Category(slug) => ("category", format!("{slug} is no longer blocked for {people}."), json!({ "categories": [slug] })),
        };
        self.shown(what, whom, text, detail)
    }

    fn shown(&self, what: &str, whom: &Whom, text: String, mut detail: Value) -> Value {
        detail["what"] = what.into();
        detail["text"] = text.into();
        detail["everybody"] = whom.everybody.into();
        detail["devices"] = whom.devices.iter().map(|id| json!({ "id": id, "name": self.device(id) })).collect();
        detail
    }

    fn device(&self, id: &Id) -> String {
        let device = self.after.devices.get(id).or_else(|| self.before.devices.get(id));
        device.map_or_else(|| id.to_string(), |device| device.name.clone())
    }

    fn whom(&self, whom: &Whom) -> String {
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

/// Words in a row, as many as anybody reads.
fn listed<T: AsRef<str>>(words: &[T]) -> String {
    let shown: Vec<&str> = words.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match words.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
