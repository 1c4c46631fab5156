//! What the records of one kind, NSEC or NSEC3, say about a question.

use crate::message::types::Rtype;

use super::{
    bitmap::TypeBitmap,
    fault::{InsecurityCause, ValidationFault},
};

/// A denial that the records prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Secure,
    /// By a record that denies its own name: compact denial, RFC 9824.
    Compact,
    Insecure(InsecurityCause),
}

/// What is proved about a zone cut at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delegation {
    /// The name is not the apex of another zone, or does not exist.
    NoCut,
    /// The name is delegated without a DS RRset, or may be so: it and all names below it are
    /// insecure.
    Insecure(InsecurityCause),
}

/// What the record at a name, or at the wildcard that stands in for it, says about a type. None if
/// the record is one of the other side of a zone cut, which says nothing about the type: RFC 6840
/// sections 4.1 and 4.4.
///
/// # Errors
/// [`ValidationFault::DenialContradicted`] if the type exists, or an alias does (RFC 6840 section
/// 4.3).
pub(super) fn denied_type(
    types: &TypeBitmap,
    rtype: Rtype,
    is_root: bool,
) -> Result<Option<Finding>, ValidationFault> {
    let is_other_side = if rtype == Rtype::DS {
        types.has(Rtype::SOA) && !is_root
    } else {
        types.is_delegation()
    };
    if is_other_side {
        return Ok(None);
    }
    if types.has(rtype) || types.has(Rtype::CNAME) {
        return Err(ValidationFault::DenialContradicted);
    }
    Ok(Some(if types.denies_its_name() {
        Finding::Compact
    } else {
        Finding::Secure
    }))
}

/// What the record at a name says about a zone cut there. None if it is one of the child zone.
///
/// # Errors
/// [`ValidationFault::DenialContradicted`] if the name has a DS RRset.
pub(super) fn cut(types: &TypeBitmap) -> Result<Option<Delegation>, ValidationFault> {
    if types.has(Rtype::SOA) {
        Ok(None)
    } else if types.has(Rtype::DS) {
        Err(ValidationFault::DenialContradicted)
    } else if types.has(Rtype::NS) {
        Ok(Some(Delegation::Insecure(
            InsecurityCause::UnsignedDelegation,
        )))
    } else {
        Ok(Some(Delegation::NoCut))
    }
}
