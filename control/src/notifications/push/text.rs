//! What a notice to a browser says, in English or Welsh.

use policy::{
    rules::household::{Household, Id},
    text::shown,
};
use policy_store::RequestState;
use serde_json::json;

use crate::households::events::{HouseholdEvent, OtherEvent, RequestEventKind};

/// A notice, as the app's service worker shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Notice {
    kind: &'static str,
    title: String,
    body: String,
    /// The page that it leads to: a fragment of the app.
    page: &'static str,
}

impl Notice {
    /// The notice of an event. `None`: there is none.
    pub fn of(event: &HouseholdEvent, household: &Household, locale: &str) -> Option<Self> {
        let is_welsh = locale.split('-').next() == Some("cy");
        let say = |english: String, welsh: String| if is_welsh { welsh } else { english };
        let device = |id: &Id| {
            let device = household.devices.get(id);
            let name = device.map_or(id.as_str(), |device| device.name.as_str());
            shown(name).into_owned()
        };
        match event {
            HouseholdEvent::Request(event) => {
                let request = &event.request;
                let (name, device) = (&request.asked.name, device(&request.device));
                let (title, body) = match (event.kind, request.state) {
                    (RequestEventKind::Request, _) => (
                        say(format!("{device} asks"), format!("Cais gan {device}")),
                        say(
                            format!("May it open {name}?"),
                            format!("A gaiff agor {name}?"),
                        ),
                    ),
                    (RequestEventKind::Answer, RequestState::Allowed) => (
                        say("Yes".to_owned(), "Iawn".to_owned()),
                        say(format!("{name} is open."), format!("Mae {name} ar agor.")),
                    ),
                    (RequestEventKind::Answer, _) => (
                        say("Not now".to_owned(), "Ddim nawr".to_owned()),
                        say(
                            format!("{name} stays blocked."),
                            format!("Mae {name} wedi'i rwystro o hyd."),
                        ),
                    ),
                };
                let kind = match event.kind {
                    RequestEventKind::Request => "request",
                    RequestEventKind::Answer => "answer",
                };
                let page = if kind == "request" {
                    "#/requests"
                } else {
                    "#/"
                };
                Some(Self {
                    kind,
                    title,
                    body,
                    page,
                })
            }
            HouseholdEvent::Other(OtherEvent::Silent { device: id, .. }) => {
                let device = device(id);
                Some(Self {
                    kind: "silent",
                    title: say(
                        format!("{device} does not use the filter"),
                        format!("Nid yw {device} yn defnyddio'r hidlydd"),
                    ),
                    body: say(
                        "It may use a VPN or a private relay.".to_owned(),
                        "Efallai ei fod yn defnyddio VPN neu ras gyfnewid breifat.".to_owned(),
                    ),
                    page: "#/",
                })
            }
            HouseholdEvent::Other(OtherEvent::NewDevice { .. }) => Some(Self {
                kind: "new_device",
                title: say(
                    "A new device is in your home".to_owned(),
                    "Mae dyfais newydd yn eich cartref".to_owned(),
                ),
                body: say("Whose is it?".to_owned(), "Pwy biau hi?".to_owned()),
                page: "#/",
            }),
            HouseholdEvent::Other(OtherEvent::Prompt { device: id, .. }) => {
                let device = device(id);
                Some(Self {
                    kind: "prompt",
                    title: say(
                        format!("{device} wants to reach something new"),
                        format!("Mae {device} eisiau cyrraedd rhywle newydd"),
                    ),
                    body: say("Yes or no?".to_owned(), "Ie neu na?".to_owned()),
                    page: "#/",
                })
            }
            HouseholdEvent::Other(_) => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn to_json(&self) -> String {
        let Self {
            kind,
            title,
            body,
            page,
        } = self;
        json!({ "title": title, "body": body, "url": page, "tag": kind }).to_string()
    }
}
