//! Who asks: the principal behind a key or a token.

use axum::http::StatusCode;
use jiff::Timestamp;
use policy::{identity::directory::Directory, rules::household::Id};
use policy_store::{Author, Key, Role, Session};

use super::session::ShownSession;
use crate::{problem::Problem, versioned::unknown_household};

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// How the audit names the principal.
    pub author: Author,
    pub role: Role,
    /// The only household that the principal may see. `None` for roles of the operator.
    pub household: Option<Id>,
    /// The device of a child.
    pub device: Option<Id>,
    /// When the token or the session ends. `None` for a key, which ends only by revocation.
    pub expires_at: Option<Timestamp>,
    /// The provider's key that signed the token.
    pub signed_by: Option<String>,
    /// The session of a browser.
    pub session: Option<ShownSession>,
}

impl Principal {
    /// The principal of a key.
    pub fn of_key(key: Key) -> Self {
        Self {
            author: Author {
                actor: format!("key:{}", key.id),
                role: key.role.to_string(),
            },
            role: key.role,
            household: key.household,
            device: key.device,
            expires_at: None,
            signed_by: None,
            session: None,
        }
    }

    /// The principal of a session: the one that it acts for.
    pub fn of_session(session: Session, shown: ShownSession) -> Self {
        let owner = session.owner;
        Self {
            author: owner.author,
            role: owner.role,
            household: Some(owner.household),
            device: owner.device,
            expires_at: Some(session.ends_at),
            signed_by: None,
            session: Some(shown),
        }
    }

    /// Refuses what this principal may not see: another household, or for a child another device.
    /// `None` is a line without a household.
    pub fn must_see(&self, household: Option<&Id>, device: Option<&Id>) -> Result<(), Problem> {
        let Some(own) = &self.household else {
            return Ok(());
        };
        match household {
            Some(household) if household != own => Err(unknown_household(household)),
            None => Err(forbidden(self.role).with_field("household".to_owned())),
            _ if self.device.is_some() && self.device.as_ref() != device => {
                Err(forbidden(self.role).with_field("device".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the principal's household and device exist on this node.
    pub fn exists_in(&self, directory: &Directory) -> bool {
        let Some(household) = &self.household else {
            return true;
        };
        let Some(rules) = directory.household(household) else {
            return false;
        };
        self.device
            .as_ref()
            .is_none_or(|device| rules.device_by_id(device).is_some())
    }
}

/// 403: the role may not do this.
pub fn forbidden(role: Role) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "role",
        format!("the role {role} may not do this"),
    )
}
