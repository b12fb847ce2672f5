//! From the paths that a crate names to arrows between its files, and the circles of those.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Module, Source};

/// What one file takes from another.
pub(crate) type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Where a path ends.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// At an item of the module with this path.
    Item(Vec<String>),
    /// At a module itself.
    Module(Vec<String>),
    /// In another crate, by this path; or at a name that is no item, such as `Self`.
    Outside(Vec<String>),
}

impl Source {
    /// Who takes what from whom, by files. A path counts for the file that defines what it
    /// names, however many modules pass it on.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (at, module) in &self.modules {
            for path in self.named_by(at, module) {
                let Some(End::Item(target)) = self.resolve(at, &path, 0) else {
                    continue;
                };
                let file = &self.modules[&target].file;
                if *file == module.file {
                    continue;
                }
                let name = path.last().cloned().unwrap_or_default();
                let from = arrows.entry(module.file.clone()).or_default();
                from.entry(file.clone()).or_default().insert(name);
            }
        }
        arrows
    }

    /// The paths of a module that may leave it: its imports and what it names in place. What
    /// it only passes on counts for the file that takes it.
    fn named_by(&self, at: &[String], module: &Module) -> Vec<Vec<String>> {
        let taken = module
            .imports
            .iter()
            .filter(|(name, _)| !module.exported.contains(*name) || uses(module, name))
            .map(|(_, path)| path.clone());
        let globs = module.globs.iter();
        let globs = globs.flat_map(|glob| self.all_of(at, &glob.path));
        let placed = module.references.iter().map(|found| found.path.clone());
        taken.chain(globs).chain(placed).collect()
    }

    /// The items of the module at `glob`.
    fn all_of(&self, at: &[String], glob: &[String]) -> Vec<Vec<String>> {
        let Some(End::Module(module)) = self.resolve(at, glob, 0) else {
            return Vec::new();
        };
        let items = self.modules[&module].items.iter();
        items
            .map(|item| [glob, std::slice::from_ref(item)].concat())
            .collect()
    }

    /// Where `path` ends, as written in the module `at`, however many modules pass it on.
    pub(crate) fn end_of(&self, at: &[String], path: &[String]) -> Option<End> {
        self.resolve(at, path, 0)
    }

    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<End> {
        if depth > MAX_REEXPORTS {
            return None;
        }
        let mut here = at.to_vec();
        let mut rest = path;
        let mut first = true;
        while let Some((name, after)) = rest.split_first() {
            match name.as_str() {
                "crate" if first => here = Vec::new(),
                "self" if first => {}
                "super" => {
                    here.pop()?;
                }
                name => {
                    let module = self.modules.get(&here)?;
                    // A function may have the name of the module that it comes from.
                    let is_end = after.is_empty() && module.imports.contains_key(name);
                    if module.children.contains(name) && !is_end {
                        here.push(name.to_owned());
                    } else if module.items.contains(name) {
                        return Some(End::Item(here));
                    } else if let Some(target) = module.imports.get(name) {
                        if target == path {
                            return Some(End::Outside(path.to_vec()));
                        }
                        let whole = [target, after].concat();
                        return self.resolve(&here, &whole, depth + 1);
                    } else {
                        let found = module.globs.iter().find_map(|glob| {
                            let whole = [&glob.path, rest].concat();
                            match self.resolve(&here, &whole, depth + 1) {
                                Some(End::Item(module)) => Some(End::Item(module)),
                                Some(End::Module(_) | End::Outside(_)) | None => None,
                            }
                        });
                        return found.or_else(|| first.then(|| End::Outside(path.to_vec())));
                    }
                }
            }
            first = false;
            rest = after;
        }
        Some(End::Module(here))
    }
}

/// Whether a module uses a name that it also passes on.
fn uses(module: &Module, name: &str) -> bool {
    module.single_names.contains(name)
        || module
            .references
            .iter()
            .any(|found| found.path.first().is_some_and(|first| first == name))
}

/// Sets of files that reach each other, largest first.
pub(crate) fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let files: BTreeSet<&String> = arrows
        .iter()
        .flat_map(|(from, to)| std::iter::once(from).chain(to.keys()))
        .collect();
    let reached: BTreeMap<&String, BTreeSet<&String>> = files
        .iter()
        .map(|&file| (file, reach(arrows, file)))
        .collect();
    let mut circles = BTreeSet::new();
    for &file in &files {
        let with: Vec<String> = reached[file]
            .iter()
            .filter(|&&other| reached[other].contains(file))
            .map(|&other| other.clone())
            .collect();
        if with.len() > 1 {
            circles.insert(with);
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

fn reach<'a>(arrows: &'a Arrows, from: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(to) {
                next.push(to);
            }
        }
    }
    seen
}

/// Chains of `pub use` are shorter than this.
const MAX_REEXPORTS: usize = 16;
