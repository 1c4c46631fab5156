//! The source files of the house, read once and parsed: what the rules in `main.rs` count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::Span;
use syn::{
    Attribute, ImplItemFn, Item, ItemFn, ItemMod, TraitItemFn, UseTree, Visibility,
    spanned::Spanned as _,
    visit::{self, Visit},
};

/// The crates, by the folder of each; the last one is the program.
pub const CRATES: [&str; 7] = [
    "policy",
    "policy/store",
    "blocklist-loader",
    "resolver",
    "control",
    "api",
    ".",
];

/// One source file of a crate's `src/`.
pub struct Source {
    pub path: PathBuf,
    /// The path of the module below the crate's root.
    pub module: Vec<String>,
    pub text: String,
    pub syntax: syn::File,
    /// Lines without the inline tests at the end of the file.
    pub lines: usize,
}

/// All files below `folder` with this extension.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder of a crate can be read") {
            let path = entry.expect("an entry of a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|name| name == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The product's files of the crate in `folder`: no file that holds tests alone.
pub fn product(folder: &str) -> Vec<Source> {
    let root = Path::new(folder).join("src");
    files(&root, "rs")
        .into_iter()
        .filter_map(|path| {
            let module = module_of(path.strip_prefix(&root).expect("it is below the root"));
            let tests = |part: &String| part == "tests" || part == "testing";
            (!module.iter().any(tests)).then(|| Source::read(path, module))
        })
        .collect()
}

fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

impl Source {
    fn read(path: PathBuf, module: Vec<String>) -> Self {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let syntax = syn::parse_file(&text)
            .unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()));
        let lines = syntax
            .items
            .iter()
            .filter(|item| matches!(item, Item::Mod(item) if is_test(&item.attrs)))
            .map(|item| item.span().start().line - 1)
            .min()
            .unwrap_or_else(|| text.lines().count());
        Self {
            path,
            module,
            text,
            syntax,
            lines,
        }
    }

    /// Name, first line and number of lines of each function outside of tests.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut functions = Functions(Vec::new());
        functions.visit_file(&self.syntax);
        functions.0
    }

    /// Names of the public types that the file defines, `pub(crate)` ones among them.
    pub fn public_types(&self) -> Vec<String> {
        let mut types = Vec::new();
        for item in &self.syntax.items {
            let (visibility, name) = match item {
                Item::Struct(item) => (&item.vis, &item.ident),
                Item::Enum(item) => (&item.vis, &item.ident),
                Item::Trait(item) => (&item.vis, &item.ident),
                Item::Type(item) => (&item.vis, &item.ident),
                _ => continue,
            };
            if !matches!(visibility, Visibility::Inherited) {
                types.push(name.to_string());
            }
        }
        types
    }

    /// Names of all types that the file defines.
    pub fn types(&self) -> Vec<String> {
        let name = |item: &Item| match item {
            Item::Struct(item) => Some(item.ident.to_string()),
            Item::Enum(item) => Some(item.ident.to_string()),
            Item::Trait(item) => Some(item.ident.to_string()),
            Item::Type(item) => Some(item.ident.to_string()),
            _ => None,
        };
        self.syntax.items.iter().filter_map(name).collect()
    }
}

/// Whether `#[cfg(test)]` or `#[test]` is among the attributes.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|name| name == "test"))
    })
}

struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, name: &syn::Ident, from: Span, to: Span) {
        let first = from.start().line;
        self.0
            .push((name.to_string(), first, to.end().line - first + 1));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        if !is_test(&item.attrs) {
            self.add(&item.sig.ident, item.sig.span(), item.block.span());
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.add(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig.ident, item.sig.span(), block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// A path that a file names: its segments, and whether it is re-exported.
type Named = (Vec<String>, bool);

struct Paths(Vec<Named>);

impl Paths {
    fn tree(&mut self, tree: &UseTree, prefix: &[String], is_exported: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), is_exported),
            UseTree::Name(name) => self.0.push((with(&name.ident), is_exported)),
            UseTree::Rename(name) => self.0.push((with(&name.ident), is_exported)),
            UseTree::Glob(_) => self.0.push((prefix.to_vec(), is_exported)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix, is_exported);
                }
            }
        }
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let is_exported = !matches!(item.vis, Visibility::Inherited);
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &[], is_exported);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.0.push((segments, false));
        }
        visit::visit_path(self, path);
    }
}

/// Which files of a crate each file imports from, by module path. A name that a module re-exports
/// counts as the file that defines it, so that a `mod.rs` that is only a map is in no cycle.
pub fn imports(sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules: BTreeSet<&[String]> = sources.iter().map(|s| s.module.as_slice()).collect();
    let named: Vec<(&[String], Vec<Named>)> = sources
        .iter()
        .map(|source| {
            let mut paths = Paths(Vec::new());
            paths.visit_file(&source.syntax);
            (source.module.as_slice(), paths.0)
        })
        .collect();
    // What a path means, as the module that it leads into and the first name behind that.
    let resolve = |from: &[String], path: &[String]| -> Option<(Vec<String>, Option<String>)> {
        let mut base: Vec<String> = from.to_vec();
        let mut rest = path;
        match path[0].as_str() {
            "crate" => base.clear(),
            "self" | "super" => {}
            first if modules.contains([from, &[first.to_owned()]].concat().as_slice()) => {}
            _ => return None,
        }
        while let Some(word @ ("crate" | "self" | "super")) = rest.first().map(String::as_str) {
            if word == "super" {
                base.pop();
            }
            rest = &rest[1..];
        }
        let whole = [base.as_slice(), rest].concat();
        let module = (0..=whole.len())
            .rev()
            .find(|&length| modules.contains(&whole[..length]))?;
        let name = whole.get(module).filter(|name| *name != "self").cloned();
        Some((whole[..module].to_vec(), name))
    };
    let mut exports: BTreeMap<(Vec<String>, String), Vec<String>> = BTreeMap::new();
    for (module, paths) in &named {
        for (path, _) in paths.iter().filter(|(_, is_exported)| *is_exported) {
            if let Some((owner, Some(name))) = resolve(module, path)
                && owner != *module
            {
                exports.insert((module.to_vec(), name), owner);
            }
        }
    }
    let mut imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (module, paths) in &named {
        for (path, is_exported) in paths {
            let Some((mut owner, name)) = resolve(module, path) else {
                continue;
            };
            if let Some(name) = name {
                let mut steps = 0;
                while let Some(next) = exports.get(&(owner.clone(), name.clone()))
                    && steps < sources.len()
                {
                    owner.clone_from(next);
                    steps += 1;
                }
            }
            if owner != *module && !is_exported {
                imports.entry(module.to_vec()).or_default().insert(owner);
            }
        }
    }
    imports
}

/// Files that import each other, directly or through others, by module path.
pub fn cycles(imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<Vec<String>> {
    let reach = |from: &Vec<String>| {
        let mut seen: BTreeSet<&Vec<String>> = BTreeSet::new();
        let mut open: Vec<&Vec<String>> = imports.get(from).into_iter().flatten().collect();
        while let Some(module) = open.pop() {
            if seen.insert(module) {
                open.extend(imports.get(module).into_iter().flatten());
            }
        }
        seen
    };
    imports
        .keys()
        .filter(|module| reach(module).contains(module))
        .cloned()
        .collect()
}
