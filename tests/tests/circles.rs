//! No circle of modules inside a crate: a file uses only files that do not, in turn, need it.
//!
//! Read from the sources, with what Rust itself takes names for: paths in code and in `use`,
//! resolved through re-exports to the file that defines the name. A re-export alone ties nothing: a
//! `mod.rs` that shows what is below it is a table of contents. A file may use what its own
//! `mod.rs` and the modules above it define. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

const CRATES: [&str; 5] = ["indexfile", "stores", "precompute", "slotd", "controller"];

/// Path of a module inside its crate: `["stage", "recheck"]`.
type Module = Vec<String>;

/// One source file.
#[derive(Default)]
struct Source {
    defines: BTreeSet<String>,
    /// Name here to the path it was imported from.
    imports: BTreeMap<String, Vec<String>>,
    /// Modules of which everything is imported.
    globs: Vec<Vec<String>>,
    /// Paths that the code uses.
    uses: BTreeSet<Vec<String>>,
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    let text = |list: &syn::MetaList| list.tokens.to_string();
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => text(list) == "test",
        _ => false,
    })
}

/// Each name of a `use` with its path, `*` for everything.
fn flatten(tree: &syn::UseTree, path: &[String], out: &mut impl FnMut(String, Vec<String>)) {
    let with = |name: &syn::Ident| [path, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(part) => flatten(&part.tree, &with(&part.ident), out),
        syn::UseTree::Name(name) if name.ident == "self" => {
            out(path.last().cloned().unwrap_or_default(), path.to_vec());
        }
        syn::UseTree::Name(name) => out(name.ident.to_string(), with(&name.ident)),
        syn::UseTree::Rename(name) => out(name.rename.to_string(), with(&name.ident)),
        syn::UseTree::Glob(_) => out("*".into(), path.to_vec()),
        syn::UseTree::Group(group) => group.items.iter().for_each(|t| flatten(t, path, out)),
    }
}

impl Source {
    fn define(&mut self, item: &syn::Item) {
        let name = match item {
            syn::Item::Const(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Fn(item) => &item.sig.ident,
            syn::Item::Static(item) => &item.ident,
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            _ => return,
        };
        self.defines.insert(name.to_string());
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attrs = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attrs) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let private = matches!(item.vis, syn::Visibility::Inherited);
        flatten(&item.tree, &[], &mut |name, path| {
            // A trait is used by its methods, which bear no path.
            if private && name != "*" {
                self.uses.insert(path.clone());
            }
            match name.as_str() {
                "*" => self.globs.push(path),
                _ => drop(self.imports.insert(name, path)),
            }
        });
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|s| s.ident.to_string());
        self.uses.insert(names.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        visit::visit_macro(self, item);
        // What most macros take are expressions; of the others only the paths at their start count.
        let parse = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = item.parse_body_with(parse) {
            let mut inner = Source::default();
            arguments.iter().for_each(|e| inner.visit_expr(e));
            self.uses.extend(inner.uses);
        }
    }
}

type Arrows = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

/// All that a file needs, and what that needs.
fn reach<'a>(arrows: &'a Arrows, from: &'a Module) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        open.extend(arrows[at].keys().filter(|to| seen.insert(*to)));
    }
    seen
}

struct Crate {
    sources: BTreeMap<Module, Source>,
}

impl Crate {
    fn read(root: &Path) -> Crate {
        let mut sources = BTreeMap::new();
        let mut open = vec![root.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                if stem == "tests" || stem.ends_with("_tests") || stem == "main" {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                if path.extension().is_none_or(|ext| ext != "rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let file = syn::parse_file(&text);
                let file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let mut source = Source::default();
                file.items.iter().for_each(|item| source.define(item));
                source.visit_file(&file);
                let inner = path.strip_prefix(root).unwrap().with_extension("");
                let parts = inner.iter().map(|p| p.to_str().unwrap().to_owned());
                let mut module: Module = parts.collect();
                if stem == "mod" || stem == "lib" {
                    module.pop();
                }
                sources.insert(module, source);
            }
        }
        Crate { sources }
    }

    /// The file that a path in `from` leads to; `None` if it leads out of the crate.
    fn resolve(&self, from: &Module, path: &[String], depth: u32) -> Option<Module> {
        if depth > 20 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut at = from.clone();
        let mut rest = rest;
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => return self.name(from, first, rest, depth),
        }
        while let Some(("super", after)) = rest.split_first().map(|(f, a)| (f.as_str(), a)) {
            at.pop();
            rest = after;
        }
        match rest.split_first() {
            None => Some(at),
            Some((name, rest)) => self.name(&at, name, rest, depth),
        }
    }

    /// What `name` is in the module `at`, and what `rest` is in that.
    fn name(&self, at: &Module, name: &String, rest: &[String], depth: u32) -> Option<Module> {
        let child = [at.as_slice(), std::slice::from_ref(name)].concat();
        if self.sources.contains_key(&child) {
            return match rest.split_first() {
                None => Some(child),
                Some((name, rest)) => self.name(&child, name, rest, depth + 1),
            };
        }
        let source = self.sources.get(at)?;
        if source.defines.contains(name) {
            return Some(at.clone());
        }
        if let Some(path) = source.imports.get(name) {
            if path.first() == Some(name) && path.len() == 1 {
                return None;
            }
            return self.resolve(at, &[path, rest].concat(), depth + 1);
        }
        let mut globs = source.globs.iter();
        globs.find_map(|glob| {
            let full = [glob.as_slice(), std::slice::from_ref(name), rest].concat();
            self.resolve(at, &full, depth + 1).filter(|found| {
                // Only if it is defined there: an unknown name comes from elsewhere.
                self.sources[found].defines.contains(name) || !found.is_empty()
            })
        })
    }

    /// Which files each file needs, and the names it takes.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, source) in &self.sources {
            let to = arrows.entry(module.clone()).or_default();
            for path in &source.uses {
                match self.resolve(module, path, 0) {
                    // What stands in its own `mod.rs` is the parent's, and as near as its own.
                    Some(target) if !module.starts_with(&target) => {
                        to.entry(target).or_default().insert(path.join("::"));
                    }
                    _ => {}
                }
            }
        }
        arrows
    }

    /// Groups of files that need each other, each with what ties it.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let reached: BTreeMap<_, _> = arrows.keys().map(|m| (m, reach(&arrows, m))).collect();
        let mut circles = Vec::new();
        let mut done = BTreeSet::new();
        for (module, to) in reached.iter().filter(|(m, to)| to.contains(*m)) {
            let circle: BTreeSet<_> = to
                .iter()
                .copied()
                .filter(|other| reached[other].contains(module))
                .collect();
            if !done.insert(circle.clone()) {
                continue;
            }
            let ties = circle.iter().flat_map(|from| {
                let inside = arrows[*from].iter().filter(|(to, _)| circle.contains(to));
                inside.map(move |(to, names)| (from.join("::"), to.join("::"), names))
            });
            let lines = ties.map(|(from, to, names)| format!("  {from} -> {to}: {names:?}"));
            circles.push(lines.collect::<Vec<_>>().join("\n"));
        }
        circles
    }
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

#[test]
fn no_files_of_a_crate_need_each_other() {
    let mut found = Vec::new();
    for name in CRATES {
        let sources = Crate::read(&workspace().join(name).join("src"));
        // It would be easy to read nothing and to find nothing.
        let arrows: usize = sources.arrows().values().map(BTreeMap::len).sum();
        assert!(arrows > sources.sources.len(), "{name}: {arrows} arrows");
        let circles = sources.circles();
        found.extend(
            circles
                .into_iter()
                .map(|circle| format!("{name}:\n{circle}")),
        );
    }
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("lib.rs", "mod a; mod b;");
    file("a/mod.rs", "mod inner; pub use inner::Inner;");
    file("a/inner.rs", "use crate::b::B; pub struct Inner(B);");
    file(
        "b.rs",
        "use crate::a; pub struct B; pub fn f(_: a::Inner) {}",
    );
    let circles = Crate::read(dir.path()).circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert!(circles[0].contains("b -> a::inner"), "{}", circles[0]);
    file(
        "b.rs",
        "pub struct B; #[cfg(test)] mod tests { use crate::a::Inner; }",
    );
    assert!(Crate::read(dir.path()).circles().is_empty());
}
