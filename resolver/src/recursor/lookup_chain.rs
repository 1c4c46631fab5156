//! The chain of nested lookups that one client query causes: the address of a name server is looked
//! up for the client's name, that of another one for the first, and so on. It detects cycles and
//! bounds the depth.

use policy::name::NameRef;

use crate::message::types::Rtype;

use super::{failure::ResolutionFailure, query_context::QueryPurpose};

/// Nested lookups of name servers. A count; BIND has 7.
const DEPTH_MAX: usize = 6;

/// One lookup, and the lookups that need its result.
#[derive(Clone, Copy)]
pub struct LookupChain<'p> {
    name: NameRef<'p>,
    rtype: Rtype,
    purpose: QueryPurpose,
    depth: usize,
    parent: Option<&'p Self>,
}

impl<'p> LookupChain<'p> {
    /// The lookup of what a client queries.
    #[must_use]
    pub fn new(name: NameRef<'p>, rtype: Rtype) -> Self {
        Self {
            name,
            rtype,
            purpose: QueryPurpose::Answer,
            depth: 0,
            parent: None,
        }
    }

    /// A lookup of the DS or DNSKEY RRset of a zone, by which an answer is validated. It begins a
    /// chain of its own: the answer is there already, and may be the same RRset.
    #[must_use]
    pub fn of_validation(name: NameRef<'p>, rtype: Rtype) -> Self {
        Self {
            purpose: QueryPurpose::Validation,
            depth: 1,
            ..Self::new(name, rtype)
        }
    }

    /// A lookup that this one needs.
    ///
    /// # Errors
    /// [`ResolutionFailure::Circular`] where the same lookup is in the chain already;
    /// [`ResolutionFailure::TooMuchWork`] where the chain is too deep.
    pub fn nested(&'p self, name: NameRef<'p>, rtype: Rtype) -> Result<Self, ResolutionFailure> {
        let mut link = Some(self);
        while let Some(lookup) = link {
            if lookup.name == name && lookup.rtype == rtype {
                return Err(ResolutionFailure::Circular);
            }
            link = lookup.parent;
        }
        if self.depth >= DEPTH_MAX {
            return Err(ResolutionFailure::TooMuchWork);
        }
        Ok(Self {
            name,
            rtype,
            purpose: QueryPurpose::ServerAddress,
            depth: self.depth + 1,
            parent: Some(self),
        })
    }

    #[must_use]
    pub fn name(&self) -> NameRef<'p> {
        self.name
    }

    /// What queries to servers are for.
    #[must_use]
    pub fn purpose(&self) -> QueryPurpose {
        self.purpose
    }

    /// Whether this is the client's own query, and no lookup of a name server.
    #[must_use]
    pub fn is_client_query(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use policy::name::Name;

    use super::*;

    #[test]
    fn a_chain_has_no_cycle_and_ends_after_six_nested_lookups() {
        let names: Vec<Name> = (0..8)
            .map(|number| Name::parse(&format!("n{number}.example")).unwrap())
            .collect();
        let first = LookupChain::new(names[0].borrow(), Rtype::AAAA);
        assert!(first.is_client_query() && first.name() == names[0].borrow());
        let next = first.nested(names[1].borrow(), Rtype::A).unwrap();
        assert!(!next.is_client_query() && next.name() == names[1].borrow());
        assert_eq!(
            next.nested(names[1].borrow(), Rtype::A).err(),
            Some(ResolutionFailure::Circular)
        );
        assert_eq!(
            next.nested(names[0].borrow(), Rtype::AAAA).err(),
            Some(ResolutionFailure::Circular),
            "at any distance"
        );
        assert!(
            next.nested(names[0].borrow(), Rtype::A).is_ok(),
            "another type is another lookup"
        );
        assert!(next.nested(names[2].borrow(), Rtype::A).is_ok());
        fn depth(chain: &LookupChain<'_>, names: &[Name]) -> usize {
            match names
                .split_first()
                .map(|(name, rest)| (chain.nested(name.borrow(), Rtype::A), rest))
            {
                Some((Ok(next), rest)) => 1 + depth(&next, rest),
                Some((Err(failure), _)) => {
                    assert_eq!(failure, ResolutionFailure::TooMuchWork);
                    0
                }
                None => panic!("no end"),
            }
        }
        assert_eq!(depth(&first, &names[1..]), 6);
    }
}
