//! The roles that an operation admits, read from the guards in its handler's signature: for the
//! OpenAPI document, and for a listener without the operator's routes.

use axum::{extract::State, handler::Handler, http::HeaderMap};
use policy_store::Role;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::UtoipaMethodRouter;

/// The extension of an operation that lists its roles. Absent: no key is needed.
pub const EXTENSION: &str = "x-roles";

/// An extractor: the roles that it admits. `None`: it does not ask for a key.
pub trait Admits {
    const ROLES: Option<&'static [Role]> = None;
    /// Whether the operation is the operator's: only its roles are admitted, or it says so itself.
    const IS_OPERATORS: bool = of_operator(Self::ROLES);
}

/// Whether all these roles belong to the operator.
const fn of_operator(roles: Option<&[Role]>) -> bool {
    let Some(mut roles) = roles else { return false };
    while let [role, rest @ ..] = roles {
        if !matches!(role, Role::Operator | Role::Auditor) {
            return false;
        }
        roles = rest;
    }
    true
}

impl<T> Admits for State<T> {}
impl Admits for HeaderMap {}

/// The extractors of a handler.
pub trait Extractors {
    /// The roles that all guards of the handler admit. `None` without a guard.
    fn roles() -> Option<Vec<Role>>;
    /// Whether one of the extractors makes the operation the operator's.
    fn is_operators() -> bool;
}

macro_rules! extractors {
    ($($extractor:ident)*) => {
        impl<Marker, $($extractor: Admits),*> Extractors for (Marker, $($extractor,)*) {
            fn roles() -> Option<Vec<Role>> {
                let guards: &[Option<&'static [Role]>] = &[$($extractor::ROLES),*];
                let guards: Vec<&[Role]> = guards.iter().copied().flatten().collect();
                let admitted = |role: &Role| guards.iter().all(|roles| roles.contains(role));
                (!guards.is_empty()).then(|| Role::ALL.into_iter().filter(admitted).collect())
            }

            fn is_operators() -> bool {
                [false, $($extractor::IS_OPERATORS),*].contains(&true)
            }
        }
    };
}

extractors!();
extractors!(A);
extractors!(A B);
extractors!(A B C);
extractors!(A B C D);
extractors!(A B C D E);
extractors!(A B C D E F);
extractors!(A B C D E F G);

/// A route of one handler, with the roles that it admits in its description.
pub struct GuardedRoute<S> {
    pub route: UtoipaMethodRouter<S>,
    /// Whether the operation is the operator's.
    pub is_operators: bool,
}

impl<S> GuardedRoute<S> {
    /// Describes the roles of a handler in its operations.
    pub fn new<T: Extractors, H: Handler<T, S>>(
        (schemas, mut paths, methods): UtoipaMethodRouter<S>,
        _handler: H,
    ) -> Self {
        if let Some(roles) = T::roles() {
            for item in paths.paths.values_mut() {
                let PathItem {
                    get,
                    put,
                    post,
                    delete,
                    ..
                } = item;
                let reads = get.iter_mut().map(|operation| (operation, true));
                let writes = [put, post, delete]
                    .into_iter()
                    .flatten()
                    .map(|operation| (operation, false));
                for (operation, is_reading) in reads.chain(writes) {
                    add(operation, &roles, is_reading);
                }
            }
        }
        Self {
            route: (schemas, paths, methods),
            is_operators: T::is_operators(),
        }
    }
}

/// An auditor only reads, whatever the guard.
fn add(operation: &mut Operation, roles: &[Role], is_reading: bool) {
    let words: Vec<&str> = roles
        .iter()
        .filter(|role| is_reading || **role != Role::Auditor)
        .map(|role| role.as_str())
        .collect();
    operation
        .extensions
        .get_or_insert_default()
        .insert(EXTENSION.to_owned(), words.into());
}

/// Routes of these handlers, with the roles that each admits.
macro_rules! guarded {
    ($($($part:ident)::+),+ $(,)?) => {
        [$($crate::auth::roles::GuardedRoute::<std::sync::Arc<$crate::Context>>::new(
            utoipa_axum::routes!($($part)::+),
            $($part)::+,
        )),+]
    };
}
pub(crate) use guarded;
