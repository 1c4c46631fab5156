//! The roles that an operation admits, read from the guards in its handler's signature, for the
//! OpenAPI document.

use axum::{extract::State, handler::Handler, http::HeaderMap};
use policy_store::Role;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::UtoipaMethodRouter;

/// The extension of an operation that lists its roles. Absent: no key is needed.
pub const EXTENSION: &str = "x-roles";

/// An extractor: the roles that it admits. `None`: it does not ask for a key.
pub trait Admits {
    const ROLES: Option<&'static [Role]> = None;
}

impl<T> Admits for State<T> {}
impl Admits for HeaderMap {}

/// The extractors of a handler.
pub trait Extractors {
    /// The roles that all guards of the handler admit. `None` without a guard.
    fn roles() -> Option<Vec<Role>>;
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

/// The roles that a handler admits.
pub fn of_handler<T: Extractors, S, H: Handler<T, S>>(_handler: H) -> Option<Vec<Role>> {
    T::roles()
}

/// Describes the roles of a handler in each of its operations.
pub fn describe<S>(
    (schemas, mut paths, methods): UtoipaMethodRouter<S>,
    roles: Option<&[Role]>,
) -> UtoipaMethodRouter<S> {
    if let Some(roles) = roles {
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
                add(operation, roles, is_reading);
            }
        }
    }
    (schemas, paths, methods)
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
        [$($crate::auth::roles::describe(
            utoipa_axum::routes!($($part)::+),
            $crate::auth::roles::of_handler::<_, std::sync::Arc<$crate::Context>, _>(
                $($part)::+
            )
            .as_deref(),
        )),+]
    };
}
pub(crate) use guarded;
