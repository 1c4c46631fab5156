//! The validation of a definition: names, ranges, scope and category.

use policy::{
    category::Taxonomy,
    lists::entry::{Scope, Tier},
    name::Name,
};

use super::{
    definition::Feed,
    error::{FEED_NAME_OCTETS_MAX, FeedError, FeedFault},
    format::Format,
};

/// Upper limit of `size_max_mib`: 1 TiB, more than the largest feeds together.
const SIZE_MIB_MAX: u32 = 1 << 20;
/// Upper limit of intervals and timeouts: one day.
const SECONDS_MAX: u32 = 86_400;

impl Feed {
    /// Checks this definition alone.
    ///
    /// # Errors
    /// The first [`FeedFault`].
    pub fn check(&self, taxonomy: &Taxonomy) -> Result<(), FeedError> {
        self.fault(taxonomy).map_err(|fault| FeedError {
            feed: self.name.clone(),
            fault,
        })
    }

    /// Checks all definitions, and that feed names are unique.
    ///
    /// # Errors
    /// The first [`FeedFault`].
    pub fn check_all(feeds: &[Self], taxonomy: &Taxonomy) -> Result<(), FeedError> {
        for (place, feed) in feeds.iter().enumerate() {
            feed.check(taxonomy)?;
            if feeds[..place].iter().any(|other| other.name == feed.name) {
                return Err(FeedError {
                    feed: feed.name.clone(),
                    fault: FeedFault::Twice,
                });
            }
        }
        Ok(())
    }

    fn fault(&self, taxonomy: &Taxonomy) -> Result<(), FeedFault> {
        let name_fits = (1..=FEED_NAME_OCTETS_MAX).contains(&self.name.len());
        if !name_fits
            || self
                .name
                .contains(|character: char| character == '/' || character.is_control())
        {
            return Err(FeedFault::Name);
        }
        if self.source.is_empty() {
            return Err(FeedFault::SourceEmpty);
        }
        self.transport_fault()?;
        self.gate_fault()?;
        match self.scope {
            None if matches!(
                self.format,
                Format::Domains | Format::Hosts | Format::Wildcard
            ) =>
            {
                return Err(FeedFault::ScopeMissing(self.format));
            }
            Some(Scope::Exact | Scope::Descendants) if self.format.rows_carry_scope() => {
                return Err(FeedFault::ScopeContradicts(self.format));
            }
            _ => {}
        }
        match (self.category.is_some(), self.categories.is_empty()) {
            (true, false) => return Err(FeedFault::CategoryTwice),
            // A mandate has no category, nor has a name that is never blocked.
            (false, true) if matches!(self.tier, Tier::Choice | Tier::Security) => {
                return Err(FeedFault::CategoryMissing);
            }
            (false, false)
                if !matches!(
                    self.format,
                    Format::Squidguard | Format::CategoryFeed | Format::Rpz
                ) =>
            {
                return Err(FeedFault::CategoriesWithoutFolders(self.format));
            }
            _ => {}
        }
        match self.slugs().find(|slug| taxonomy.find(slug).is_none()) {
            Some(slug) => Err(FeedFault::CategoryUnknown {
                slug: slug.to_owned(),
                nearest: nearest(slug, taxonomy),
            }),
            None => Ok(()),
        }
    }

    fn gate_fault(&self) -> Result<(), FeedFault> {
        let ranges = [
            ("interval_s", self.interval_s.unwrap_or(1), 1, SECONDS_MAX),
            ("timeout_s", self.timeout_s, 1, SECONDS_MAX),
            ("size_max_mib", self.size_max_mib, 1, SIZE_MIB_MAX),
            ("max_shrink_percent", self.max_shrink_percent, 0, 100),
            ("max_age_s", self.max_age_s.unwrap_or(1), 1, u32::MAX),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(FeedFault::Range { key, least, most });
            }
        }
        let canaries = [
            ("must_match", &self.must_match),
            ("must_not_match", &self.must_not_match),
        ];
        for (key, name) in canaries
            .into_iter()
            .flat_map(|(key, names)| names.iter().map(move |name| (key, name)))
        {
            Name::parse(name).map_err(|_| FeedFault::NotAName {
                key,
                name: name.clone(),
            })?;
        }
        Ok(())
    }
}

/// The slug most similar to an unknown one, if the difference is small.
fn nearest(written: &str, taxonomy: &Taxonomy) -> Option<String> {
    // Two typing errors, or a third of a long word. A less similar suggestion would confuse.
    let most = (written.len() / 3).max(2);
    let distances = taxonomy
        .categories()
        .iter()
        .map(|category| (distance(written, &category.slug), &category.slug));
    distances
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, slug)| slug.clone())
}

/// Levenshtein distance, over octets.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
