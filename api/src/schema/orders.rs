//! The shapes of mandates and of explanations.

use utoipa::ToSchema;

/// A mandate.
#[derive(ToSchema)]
pub struct Mandate {
    /// Its identifier, the operator's choice.
    id: String,
    /// Rises with every change; also the `ETag`.
    version: u64,
    /// `pending`, `active` or `expired`.
    state: String,
    /// The name that is ordered; or else an address.
    name: Option<String>,
    /// Addresses of answers: one, or a network.
    address: Option<String>,
    /// What a name covers: `exact`, `subtree` or `descendants`.
    scope: Option<String>,
    /// On what it rests: `court-order`, `sanctions`, `iwf`, `regulator` or `police`.
    basis: String,
    /// Where it is written.
    reference: Option<String>,
    /// From when on, RFC 3339; none means always.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// Until when; none means for ever.
    #[schema(format = DateTime)]
    not_after: Option<String>,
    /// Where A and AAAA lead instead; none means the operator's way.
    landing: Option<Landing>,
    /// Whether nobody but the operator and his auditors may learn of it.
    confidential: bool,
    /// Whether it covers what it covers by intent.
    force: bool,
    /// When it was first written, RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// Who wrote it first.
    created_by: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Who changed it last.
    updated_by: String,
}

/// Where a name leads that is blocked.
#[derive(ToSchema)]
pub struct Landing {
    /// For A.
    #[schema(format = Ipv4)]
    v4: Option<String>,
    /// For AAAA.
    #[schema(format = Ipv6)]
    v6: Option<String>,
}

/// A page of mandates, by identifier.
#[derive(ToSchema)]
pub struct MandatePage {
    /// The mandates.
    mandates: Vec<Mandate>,
    /// The cursor of the next page; none where there is none.
    next: Option<String>,
}

/// Why a name is blocked or not.
#[derive(ToSchema)]
pub struct Explanation {
    /// The name that was asked for.
    name: String,
    /// The record type.
    r#type: String,
    /// The household that asked; none for a line of nobody.
    household: Option<String>,
    /// Its device that asked, where it is known.
    device: Option<String>,
    /// `block` or `allow`.
    verdict: String,
    /// The layer that decided.
    layer: String,
    /// How the deciding entry wants the name answered: `policy`, `nxdomain`, `nodata`, `drop`,
    /// `tcp-only`, `records`, `proxied` or `ordered`.
    action: String,
    /// One sentence to read out.
    reason: String,
    /// The first category for which it is blocked.
    category: Option<String>,
    /// All of them.
    categories: Vec<String>,
    /// The name that decided: in a feed, in a bundle, in an own list, or of a mandate.
    entry: Option<String>,
    /// Where that entry stands: `feed`, `bundle` (names that a category of the taxonomy brings
    /// itself), `own-list` or `mandate`.
    source: Option<String>,
    /// The feed of that entry, where it is one of a feed.
    feed: Option<String>,
    /// What that entry covers: `exact`, `subtree` or `descendants`.
    scope: Option<String>,
    /// The mandate that decided, where one did.
    mandate: Option<MandateOfExplanation>,
    /// The generation of the lists.
    generation: u64,
    /// Who set what decided.
    setter: Option<Setter>,
    /// Which name decided.
    hop: Hop,
    /// The names that the answer leads over, in order.
    chain: Vec<String>,
    /// All entries that speak for the deciding name.
    matches: Vec<Matched>,
    /// What a query would be answered.
    answer: Answer,
}

/// The mandate that decided. A family learns its basis at most.
#[derive(ToSchema)]
struct MandateOfExplanation {
    /// Its identifier.
    id: Option<String>,
    /// On what it rests.
    basis: String,
    /// Where it is written.
    reference: Option<String>,
    /// Whether nobody but the operator and his auditors may learn of it. A family is told `false`
    /// of each.
    confidential: bool,
}

/// Who set what decided.
#[derive(ToSchema)]
struct Setter {
    /// `device`, `person`, `household`, `preset`, `operator`, `feed` or `mandate`.
    layer: String,
    /// A key, a preset, a feed or a mandate.
    by: String,
    /// When, RFC 3339; none where nobody noted it.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The schedule by which it holds at this hour.
    schedule: Option<String>,
    /// When it ends by itself, RFC 3339.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// Which name decided.
#[derive(ToSchema)]
struct Hop {
    /// 0 is the name that was asked for, the others are its chain's.
    index: u64,
    /// The name.
    name: String,
}

/// One entry that spoke for the name.
#[derive(ToSchema)]
struct Matched {
    /// The listed name.
    entry: String,
    /// Where it stands: `feed` or `bundle`.
    source: String,
    /// The feed that lists it; none for an entry of a bundle.
    feed: Option<String>,
    /// For which category.
    category: Option<String>,
    /// What it covers: `exact`, `subtree` or `descendants`.
    scope: String,
    /// `deny` or `allow`.
    polarity: String,
    /// `mandatory`, `security`, `choice` or `never-block`.
    tier: String,
    /// How it wants the name answered, as above; `path` is one path of a host.
    action: String,
    /// Whether it counts: in one feed the highest rank speaks.
    counts: bool,
    /// When it came to the lists, at the latest, RFC 3339; none for an entry of a bundle.
    since: Option<String>,
}

/// What a query would be answered.
#[derive(ToSchema)]
struct Answer {
    /// The response code in words, such as `NXDOMAIN`.
    rcode: String,
    /// The records in presentation form.
    records: Vec<String>,
    /// The extended error (RFC 8914), where there is one.
    ede: Option<Ede>,
}

/// An extended DNS error.
#[derive(ToSchema)]
struct Ede {
    /// Its code.
    code: u16,
    /// Its text.
    text: String,
}
